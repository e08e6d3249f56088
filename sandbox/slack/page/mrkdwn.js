// Turns Slack's mrkdwn into elements: code first, then <control sequences>, entities, emphasis, emoji.

import { el, safeUrl } from "./dom.js";
import { EMOJI } from "./emoji.js";

const KEPT = 0xe000; // Private-use characters stand for finished pieces while emphasis is looked for.
const EMPHASIS = /(^|[\s([{"'.,:;!?>—\-\uE000-\uF8FF])([*_~])(?!\s)([^\n]*?[^\s])\2(?=$|[\s)\]}.,:;!?"'…—\-\uE000-\uF8FF])/;
const TAGS = { "*": "strong", _: "em", "~": "s" };

export function decode(text) {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}

export function emoji(text) {
  return text.replace(/:([a-z0-9_+-]+)(?::skin-tone-\d)?:/g, (all, name) => (Object.hasOwn(EMOJI, name) ? EMOJI[name] : all));
}

export function plainText(object) {
  return object ? emoji(decode(object.text ?? "")) : "";
}

export function textObject(object, world) {
  if (!object) return "";
  return object.type === "mrkdwn" ? mrkdwn(object.text, world) : el("span", { class: "text" }, plainText(object));
}

export function mrkdwn(source, world) {
  const box = el("div", { class: "text" });
  const text = source.replace(/[\uE000-\uF8FF]/g, "");
  text.split(/```/).forEach((part, index, all) => {
    if (index % 2 === 1 && index < all.length - 1) box.append(el("pre", {}, decode(unwrap(part.replace(/^\n|\n$/g, "")))));
    else box.append(...lines(index % 2 === 1 ? "```" + part : part, world));
  });
  return box;
}

// Inside code, links and mentions are shown by their label or target.
function unwrap(text) {
  return text.replace(/<([^<>\n]*)>/g, (_, inner) => inner.split("|").at(-1));
}

function lines(text, world) {
  const out = [];
  let quote = null;
  text.split("\n").forEach((line, index) => {
    const quoted = line.match(/^(?:&gt;|>)\s?(.*)$/);
    if (quoted) {
      if (!quote) out.push((quote = el("blockquote")));
      else quote.append(el("br"));
      quote.append(...inline(quoted[1], world));
      return;
    }
    if (index > 0 && !quote) out.push(el("br"));
    quote = null;
    out.push(...inline(line, world));
  });
  return out;
}

function inline(text, world) {
  const kept = [];
  const keep = (node) => String.fromCharCode(KEPT + kept.push(node) - 1);
  const coded = text.replace(/`([^`\n]+)`/g, (_, code) => keep(el("code", {}, decode(unwrap(code)))));
  const marked = coded.replace(/<([^<>\n]*)>/g, (_, inner) => keep(control(inner, world)));
  return emphasis(marked, kept);
}

function emphasis(text, kept) {
  const found = text.match(EMPHASIS);
  if (!found) return words(text, kept);
  const start = found.index + found[1].length;
  const end = found.index + found[0].length;
  const inner = el(TAGS[found[2]], {}, emphasis(found[3], kept));
  return [...words(text.slice(0, start), kept), inner, ...emphasis(text.slice(end), kept)];
}

function words(text, kept) {
  return text
    .split(/([\uE000-\uF8FF])/)
    .filter(Boolean)
    .map((part) => kept[part.charCodeAt(0) - KEPT] ?? document.createTextNode(emoji(decode(part))));
}

function control(inner, world) {
  const bar = inner.indexOf("|");
  const target = bar < 0 ? inner : inner.slice(0, bar);
  const label = bar < 0 ? "" : decode(inner.slice(bar + 1));
  if (target.startsWith("@")) return chip("@" + (world.userName(target.slice(1)) || label || target.slice(1)), target.slice(1) === world.viewer);
  if (target.startsWith("#")) return chip("#" + (world.channelName(target.slice(1)) || label || target.slice(1)));
  if (target.startsWith("!subteam^")) return chip("@" + (world.groupName(target.slice(9)) || label.replace(/^@/, "") || target.slice(9)));
  if (target.startsWith("!date^")) return date(target, label, world);
  if (target.startsWith("!")) return chip("@" + target.slice(1).split("^")[0], true);
  return link(decode(target), label || decode(target));
}

export function chip(text, loud = false) {
  return el("span", { class: loud ? "chip loud" : "chip" }, text);
}

export function link(url, label) {
  const safe = safeUrl(url);
  return safe ? el("a", { href: safe, target: "_blank", rel: "noopener noreferrer" }, emoji(label)) : el("span", {}, label);
}

function date(target, fallback, world) {
  const [, seconds, form = "{date_short_pretty} {time}", url] = target.split("^");
  const moment = new Date(Number(seconds) * 1000);
  if (Number.isNaN(moment.getTime())) return el("span", {}, fallback);
  const shown = form.replace(/\{([a-z_]+)\}/g, (all, name) => datePart(name, moment, world) ?? all);
  const node = el("time", { class: "when", datetime: moment.toISOString(), title: world.fullTime(moment) }, shown);
  return url ? el("a", { href: safeUrl(url), target: "_blank", rel: "noopener noreferrer" }, node) : node;
}

function datePart(name, moment, world) {
  const format = (options) => new Intl.DateTimeFormat(world.locale, { timeZone: world.zone, ...options }).format(moment);
  const pretty = name.endsWith("_pretty") ? world.relativeDay(moment) : "";
  if (pretty) return pretty;
  switch (name.replace("_pretty", "")) {
    case "date_num": return format({ year: "numeric", month: "2-digit", day: "2-digit" });
    case "date_slash": return format({ year: "numeric", month: "2-digit", day: "2-digit" });
    case "date": return format({ year: "numeric", month: "long", day: "numeric" });
    case "date_short": return format({ year: "numeric", month: "short", day: "numeric" });
    case "date_long": return format({ weekday: "long", year: "numeric", month: "long", day: "numeric" });
    case "day_divider_pretty": return format({ weekday: "long", month: "long", day: "numeric" });
    case "time": return format({ hour: "numeric", minute: "2-digit" });
    case "time_secs": return format({ hour: "numeric", minute: "2-digit", second: "2-digit" });
    case "ago": return world.ago(moment);
    default: return null;
  }
}
