// One list of messages on screen: drawn once, then changed in place, so that focus and open menus survive.

import { el, post, refill } from "./dom.js";
import { drawBlocks, drawFiles } from "./blocks.js";
import { confirmDialog } from "./modals.js";
import { emoji, mrkdwn } from "./mrkdwn.js";

const GROUP_SECONDS = 300;

export function avatar(person, bot) {
  const hue = [...(person?.id ?? "?")].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  const node = el("span", { class: bot ? "avatar app" : "avatar", "aria-hidden": "true" }, bot ? "当" : (person?.real_name ?? "?").slice(0, 1));
  if (!bot) node.style.setProperty("--hue", String(hue));
  return node;
}

export class MessageList {
  // `open(ts)` shows a thread; inside a thread there is none to open.
  constructor(box, world, open) {
    this.box = box;
    this.world = world;
    this.open = open;
    this.nodes = new Map();
    this.docs = new Map();
  }

  clear(note = "") {
    this.nodes.clear();
    this.docs.clear();
    refill(this.box, note && el("p", { class: "empty" }, note));
  }

  fill(docs, note) {
    this.clear(docs.length ? "" : note);
    docs.forEach((doc) => this.put(doc, false));
    this.stay(this.box);
    this.group();
    this.bottom();
  }

  get atBottom() {
    return this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 80;
  }

  bottom() {
    this.box.scrollTop = this.box.scrollHeight;
  }

  // A picture that comes after its message must not push the end out of sight.
  stay(node) {
    node.querySelectorAll("img").forEach((image) => image.addEventListener("load", () => this.bottom(), { once: true }));
  }

  // Adds a message or redraws it where it stands.
  put(doc, alive = true) {
    const stick = this.atBottom;
    const node = this.draw(doc);
    const old = this.nodes.get(doc.ts);
    this.box.querySelector(".empty")?.remove();
    this.docs.set(doc.ts, doc);
    this.nodes.set(doc.ts, node);
    if (old) {
      const focused = old.contains(document.activeElement) ? document.activeElement.dataset.action : "";
      old.replaceWith(node);
      if (focused) node.querySelector(`[data-action="${CSS.escape(focused)}"]`)?.focus();
      if (alive) flash(node);
    } else {
      const later = [...this.nodes.keys()].filter((ts) => ts > doc.ts).sort()[0];
      this.box.insertBefore(node, later ? this.nodes.get(later) : null);
    }
    if (alive) {
      this.group();
      if (stick) {
        this.bottom();
        this.stay(node);
      }
    }
  }

  drop(ts) {
    this.nodes.get(ts)?.remove();
    this.nodes.delete(ts);
    this.docs.delete(ts);
    this.group();
  }

  // Puts day lines between days and hides the repeated author of close neighbours.
  group() {
    this.box.querySelectorAll(".day").forEach((node) => node.remove());
    let before = null;
    for (const ts of [...this.nodes.keys()].sort()) {
      const doc = this.docs.get(ts);
      const moment = new Date(Number(ts) * 1000);
      const day = this.world.dayKey(moment);
      const newDay = !before || this.world.dayKey(new Date(Number(before.ts) * 1000)) !== day;
      const close = before && !newDay && before.user === doc.user && before.ephemeral === doc.ephemeral && Number(ts) - Number(before.ts) < GROUP_SECONDS;
      this.nodes.get(ts).classList.toggle("follows", Boolean(close) && !before.reply_count);
      if (newDay) {
        const label = this.world.relativeDay(moment) || this.world.format(moment, { dateStyle: "full" });
        this.nodes.get(ts).before(el("div", { class: "day", role: "separator" }, el("span", {}, label)));
      }
      before = doc;
    }
  }

  draw(doc) {
    const { world } = this;
    const person = world.users.get(doc.user);
    const moment = new Date(Number(doc.ts) * 1000);
    const use = {
      world,
      confirm: (confirm) => confirmDialog(world, confirm),
      press: (block, one, option) =>
        world.tell(post("/world/press", {
          person: world.person.name, channel: doc.channel, ts: doc.ts, action_id: one.action_id, block_id: block.block_id, option: option ?? null,
        })),
    };
    const body = doc.blocks?.length ? drawBlocks(doc.blocks, use) : mrkdwn(doc.text, world);
    const name = doc.tombstone ? "" : (person?.real_name ?? doc.user);
    return el("article", { class: `message${doc.ephemeral ? " whisper" : ""}`, "data-ts": doc.ts, "aria-label": `Message from ${name} at ${world.time(moment)}` },
      doc.ephemeral && el("p", { class: "only" }, "Only visible to you"),
      avatar(person, doc.app),
      el("div", { class: "main" },
        el("div", { class: "by" }, el("strong", {}, name), doc.app && el("span", { class: "tag" }, "APP"),
          el("time", { datetime: moment.toISOString(), title: world.fullTime(moment) }, world.time(moment))),
        body,
        doc.files.length > 0 && drawFiles(doc.files),
        doc.edited && el("small", { class: "edited" }, "(edited)"),
        Object.keys(doc.reactions).length > 0 && el("div", { class: "reactions" }, Object.entries(doc.reactions).map(([key, count]) => el("span", { class: "reaction" }, `${emoji(`:${key}:`)} ${count}`))),
        this.open && this.footer(doc)),
      el("div", { class: "tools" }, this.open && !doc.ephemeral && el("button", { type: "button", class: "plain", "aria-label": "Reply in thread", title: "Reply in thread", onclick: () => this.open(doc) }, "💬"),
        !doc.ephemeral && el("button", { type: "button", class: "plain", "aria-label": "Delete message", title: "Delete message", onclick: () => world.tell(post("/world/delete", { channel: doc.channel, ts: doc.ts })) }, "🗑")));
  }

  footer(doc) {
    if (!doc.reply_count) return doc.broadcast && doc.thread_ts ? el("button", { type: "button", class: "replies", onclick: () => this.open(doc) }, "View thread") : null;
    const last = new Date(Number(doc.latest_reply) * 1000);
    return el("button", { type: "button", class: "replies", onclick: () => this.open(doc) },
      doc.repliers.map((id) => avatar(this.world.users.get(id), this.world.users.get(id)?.bot)),
      el("span", {}, `${doc.reply_count} ${doc.reply_count === 1 ? "reply" : "replies"}`),
      el("small", {}, `last ${this.world.time(last)}`));
  }
}

function flash(node) {
  node.classList.add("changed");
  node.addEventListener("animationend", () => node.classList.remove("changed"), { once: true });
}
