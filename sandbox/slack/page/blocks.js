// Draws Block Kit: every block type has one function; an unknown one is shown as a grey box, never dropped.

import { el, imageUrl } from "./dom.js";
import { element } from "./elements.js";
import { chip, emoji, link, mrkdwn, plainText, textObject } from "./mrkdwn.js";

// `use` says what happens: {world, press(block, element, option), change(block, element, value), value(block, element), errors}.
export function drawBlocks(blocks, use) {
  return el("div", { class: "blocks" }, blocks.map((block) => drawBlock(block, use)));
}

function drawBlock(block, use) {
  const draw = DRAW[block.type];
  if (!draw) return el("div", { class: "unknown" }, el("strong", {}, block.type), el("pre", {}, JSON.stringify(block, null, 1)));
  return el("div", { class: `block b-${block.type}` }, draw(block, use));
}

const DRAW = {
  header: (block) => el("h3", {}, plainText(block.text)),
  divider: () => el("hr"),
  section: (block, use) => [
    el("div", { class: "body" },
      block.text && textObject(block.text, use.world),
      block.fields && el("div", { class: "fields" }, block.fields.map((field) => el("div", {}, textObject(field, use.world))))),
    block.accessory && el("div", { class: "accessory" }, element(block, block.accessory, use)),
  ],
  context: (block, use) => block.elements.map((one) => (one.type === "image" ? element(block, one, use) : textObject(one, use.world))),
  actions: (block, use) => el("div", { class: "row", role: "group", "aria-label": "Actions" }, block.elements.map((one) => element(block, one, use))),
  context_actions: (block, use) => DRAW.actions(block, use),
  image: (block) => el("figure", {}, block.title && el("figcaption", {}, plainText(block.title)), picture(block)),
  input: (block, use) => {
    const error = use.errors?.[block.block_id];
    const field = element(block, block.element, use);
    field.setAttribute("aria-label", plainText(block.label));
    if (error) field.setAttribute("aria-invalid", "true");
    return [
      el("div", { class: "label" }, plainText(block.label), block.optional && el("small", {}, " (optional)")),
      field,
      error && el("p", { class: "error", role: "alert" }, error),
      block.hint && el("p", { class: "hint" }, plainText(block.hint)),
    ];
  },
  rich_text: (block, use) => el("div", { class: "text" }, block.elements.map((one) => rich(one, use))),
  markdown: (block, use) => mrkdwn(block.text.replace(/\*\*(.+?)\*\*/g, "*$1*").replace(/^#+\s*(.+)$/gm, "*$1*"), use.world),
  alert: (block, use) => el("div", { class: `alert ${block.level ?? "default"}`, role: "note" }, textObject(block.text, use.world)),
  table: (block, use) =>
    el("table", {}, block.rows.map((row, index) =>
      el("tr", {}, row.map((cell) => el(index ? "td" : "th", {}, cell.type === "rich_text" ? cell.elements.map((one) => rich(one, use)) : emoji(String(cell.text ?? cell.value ?? "")))))),
    ),
};

function picture(image) {
  const url = imageUrl(image);
  const words = el("span", { class: "noimage" }, image.alt_text);
  if (!url) return words;
  const shown = el("img", { src: url, alt: image.alt_text, title: image.alt_text, onerror: () => frame.replaceWith(words) });
  const frame = el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, shown);
  return frame;
}

// Files that were shared with a message: pictures are shown, others are named.
export function drawFiles(files) {
  return el("div", { class: "blocks" }, files.map((file) =>
    el("div", { class: "block b-image" }, el("figure", {}, el("figcaption", {}, file.name), /\.(png|jpe?g|gif)$/i.test(file.name) && picture({ slack_file: { id: file.id }, alt_text: file.name })))));
}

const LISTS = { bullet: "ul", ordered: "ol" };

function rich(part, use) {
  const inside = (part.elements ?? []).map((one) => (one.type.startsWith("rich_text") ? rich(one, use) : richInline(one, use)));
  switch (part.type) {
    case "rich_text_section": return el("div", {}, inside);
    case "rich_text_preformatted": return el("pre", {}, inside);
    case "rich_text_quote": return el("blockquote", {}, inside);
    case "rich_text_list": return el(LISTS[part.style] ?? "ul", { class: `indent${part.indent ?? 0}` }, inside.map((one) => el("li", {}, one)));
    default: return el("span", {}, JSON.stringify(part));
  }
}

function richInline(part, use) {
  let node;
  switch (part.type) {
    case "text": node = el("span", {}, breaks(part.text)); break;
    case "link": node = link(part.url, part.text ?? part.url); break;
    case "user": node = chip("@" + (use.world.userName(part.user_id) || part.user_id), part.user_id === use.world.viewer); break;
    case "channel": node = chip("#" + (use.world.channelName(part.channel_id) || part.channel_id)); break;
    case "usergroup": node = chip("@" + (use.world.groupName(part.usergroup_id) || part.usergroup_id)); break;
    case "broadcast": node = chip("@" + part.range, true); break;
    case "emoji": node = document.createTextNode(emoji(`:${part.name}:`)); break;
    case "date": node = mrkdwn(`<!date^${part.timestamp}^${part.format}|${part.fallback ?? ""}>`, use.world); break;
    default: node = el("span", {}, JSON.stringify(part));
  }
  const tags = { code: "code", strike: "s", italic: "em", bold: "strong" };
  for (const [style, tag] of Object.entries(tags)) if (part.style?.[style]) node = el(tag, {}, node);
  return node;
}

function breaks(text) {
  return text.split("\n").flatMap((line, index) => (index ? [el("br"), line] : [line]));
}
