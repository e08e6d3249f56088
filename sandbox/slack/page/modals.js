// Modals and confirm dialogs: the stack's top view is shown, values typed so far survive every redraw.

import { add, el, post, refill } from "./dom.js";
import { drawBlocks } from "./blocks.js";
import { plainText, textObject } from "./mrkdwn.js";

export function confirmDialog(world, confirm) {
  return new Promise((resolve) => {
    const done = (answer) => () => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const style = confirm.style === "danger" ? "danger" : "primary";
    const dialog = el("dialog", { class: "modal confirm", "aria-label": plainText(confirm.title) },
      el("header", {}, el("h2", {}, plainText(confirm.title))),
      el("div", { class: "content" }, textObject(confirm.text, world)),
      el("footer", {},
        el("button", { type: "button", class: "btn", onclick: done(false) }, plainText(confirm.deny)),
        el("button", { type: "button", class: `btn ${style}`, onclick: done(true) }, plainText(confirm.confirm))));
    dialog.addEventListener("cancel", done(false));
    document.body.append(dialog);
    dialog.showModal();
  });
}

export class Modals {
  constructor(world) {
    this.world = world;
    this.drafts = new Map();
    this.dialog = null;
    this.shown = "";
  }

  // Shows the top of the stack, or nothing.
  show(views) {
    const view = views.at(-1);
    const open = new Set(views.map((one) => one.id));
    for (const id of this.drafts.keys()) if (!open.has(id)) this.drafts.delete(id);
    if (!view) return this.hide();
    if (!this.dialog) {
      this.dialog = el("dialog", { class: "modal" });
      this.dialog.addEventListener("cancel", (event) => {
        event.preventDefault();
        this.close();
      });
      document.body.append(this.dialog);
    }
    this.view = view;
    this.draw(view, views.length);
    if (!this.dialog.open) this.dialog.showModal();
    if (this.shown !== view.id) this.dialog.querySelector("[autofocus], .content .field")?.focus();
    this.shown = view.id;
  }

  hide() {
    this.dialog?.close();
    this.dialog?.remove();
    this.dialog = null;
    this.shown = "";
  }

  draft(view) {
    if (!this.drafts.has(view.id)) this.drafts.set(view.id, {});
    return this.drafts.get(view.id);
  }

  use(view) {
    const draft = this.draft(view);
    const key = (block, one) => (block.type === "input" ? block.block_id : one.action_id);
    const send = { person: this.world.person.name, view_id: view.id };
    return {
      world: this.world,
      errors: view.errors,
      confirm: (confirm) => confirmDialog(this.world, confirm),
      change: (block, one, value) => { draft[key(block, one)] = value; },
      value: (block, one) => draft[key(block, one)],
      suggest: async (one, query) => (await post("/world/suggest", { ...send, action_id: one.action_id, query })).options ?? [],
      press: (block, one, option) =>
        this.world.tell(post("/world/press_view", { ...send, action_id: one.action_id, block_id: block.block_id, option: option ?? null, values: this.inputs(view) })),
    };
  }

  inputs(view) {
    const ids = new Set(view.blocks.filter((block) => block.type === "input").map((block) => block.block_id));
    return Object.fromEntries(Object.entries(this.draft(view)).filter(([id]) => ids.has(id)));
  }

  draw(view, depth) {
    const title = plainText(view.title);
    this.dialog.setAttribute("aria-label", title);
    const form = el("form", { novalidate: true, onsubmit: (event) => { event.preventDefault(); this.submit(view); } },
      el("header", {}, el("h2", {}, title), depth > 1 && el("span", { class: "depth" }, `${depth} open`),
        el("button", { type: "button", class: "plain", "aria-label": "Close", onclick: () => this.close() }, "✕")),
      el("div", { class: "content" }, drawBlocks(view.blocks, this.use(view))),
      el("footer", {},
        el("button", { type: "button", class: "btn", onclick: () => this.close() }, view.close ? plainText(view.close) : "Cancel"),
        view.submit && el("button", { type: "submit", class: "btn primary" }, plainText(view.submit))));
    refill(this.dialog, form);
  }

  async submit(view) {
    const submit = this.dialog.querySelector("[type=submit]");
    submit?.classList.add("busy");
    const answer = await post("/world/submit", { person: this.world.person.name, view_id: view.id, values: this.inputs(view) });
    submit?.classList.remove("busy");
    if (answer.error) add(this.dialog.querySelector("footer"), [el("p", { class: "error", role: "alert" }, `We had some trouble connecting (${answer.error}). Try again?`)]);
  }

  async close() {
    await post("/world/close_view", { person: this.world.person.name, view_id: this.view.id });
  }
}
