// Draws what can be operated: buttons, menus and inputs, in messages (they act at once) and in modals (they keep a value).

import { el, imageUrl, refill, safeUrl } from "./dom.js";
import { plainText } from "./mrkdwn.js";

const TYPED = {
  plain_text_input: "text", email_text_input: "email", url_text_input: "url", number_input: "text",
  datepicker: "date", timepicker: "time", datetimepicker: "datetime-local", rich_text_input: "text",
};

export function element(block, one, use) {
  switch (one.type) {
    case "button": case "workflow_button": return button(block, one, use);
    case "icon_button": return button(block, one, use);
    case "overflow": return overflow(block, one, use);
    case "image": return imageUrl(one) ? el("img", { class: "small", src: imageUrl(one), alt: one.alt_text }) : el("span", {}, one.alt_text);
    case "radio_buttons": case "checkboxes": return ticks(block, one, use);
    case "external_select": case "multi_external_select": return external(block, one, use);
    default:
      if (one.type.endsWith("_select")) return select(block, one, use);
      if (TYPED[one.type]) return typed(block, one, use);
      return el("span", { class: "unknown" }, one.type);
  }
}

function button(block, one, use) {
  const label = plainText(one.text);
  if (one.visible_to_user_ids && !one.visible_to_user_ids.includes(use.world.viewer)) return null;
  return el("button", {
    type: "button", class: `btn ${one.style ?? ""}`, "aria-label": one.accessibility_label ?? null, "data-action": one.action_id,
    onclick: async (event) => {
      if (one.confirm && !(await use.confirm(one.confirm))) return;
      if (safeUrl(one.url ?? "")) window.open(one.url, "_blank", "noopener");
      await busy(event.target, () => use.press(block, one));
    },
  }, label);
}

async function busy(node, work) {
  node.classList.add("busy");
  node.setAttribute("aria-busy", "true");
  try {
    await work();
  } finally {
    node.classList.remove("busy");
    node.removeAttribute("aria-busy");
  }
}

function overflow(block, one, use) {
  const menu = el("div", { class: "menu", role: "menu", hidden: true });
  const opener = el("button", {
    type: "button", class: "btn dots", "aria-label": "More actions", "aria-haspopup": "menu", "aria-expanded": "false",
    onclick: () => toggle(menu.hidden),
  }, "⋯");
  const toggle = (open) => {
    menu.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
    if (open) menu.querySelector("button")?.focus();
  };
  one.options.forEach((option) =>
    menu.append(el("button", {
      type: "button", role: "menuitem",
      onclick: async () => {
        toggle(false);
        if (one.confirm && !(await use.confirm(one.confirm))) return;
        await busy(opener, () => use.press(block, one, option));
      },
    }, plainText(option.text))));
  const box = el("span", { class: "overflow", onfocusout: (event) => box.contains(event.relatedTarget) || toggle(false) }, opener, menu);
  box.addEventListener("keydown", (event) => event.key === "Escape" && toggle(false));
  return box;
}

function choices(one, world) {
  if (one.type.includes("users")) return world.people.map((person) => ({ label: person.real_name, value: person.id }));
  if (one.type.includes("channels") || one.type.includes("conversations"))
    return world.channels.map((channel) => ({ label: `#${channel.name}`, value: channel.id }));
  const all = [...(one.options ?? []), ...(one.option_groups ?? []).flatMap((group) => group.options)];
  return all.map((option) => ({ label: plainText(option.text), value: option.value }));
}

function current(block, one, use) {
  const value = use.value?.(block, one);
  if (value !== undefined) return value;
  const first = one.initial_option?.value ?? one.initial_user ?? one.initial_channel ?? one.initial_conversation;
  const many = one.initial_options?.map((option) => option.value) ?? one.initial_users ?? one.initial_channels ?? one.initial_conversations;
  return many ?? first ?? one.initial_value ?? one.initial_date ?? one.initial_time ?? (one.type.startsWith("multi_") || one.type === "checkboxes" ? [] : "");
}

function chose(block, one, use, value) {
  use.change?.(block, one, value);
  if (block.type !== "input" || block.dispatch_action) use.press(block, one, value);
}

function select(block, one, use) {
  const many = one.type.startsWith("multi_");
  const chosen = [current(block, one, use)].flat();
  const options = choices(one, use.world).map((choice) => el("option", { value: choice.value, selected: chosen.includes(choice.value) }, choice.label));
  const hint = plainText(one.placeholder) || "Choose…";
  return el("select", {
    class: "field", multiple: many, size: many ? 4 : null, "aria-label": hint, "data-action": one.action_id,
    onchange: async (event) => {
      if (one.confirm && !(await use.confirm(one.confirm))) return;
      const picked = [...event.target.selectedOptions].map((option) => option.value);
      chose(block, one, use, many ? picked : picked[0] ?? "");
    },
  }, many ? null : el("option", { value: "" }, hint), options);
}

let lists = 0;

function external(block, one, use) {
  const list = el("datalist", { id: `options-${(lists += 1)}` });
  const input = el("input", {
    class: "field", type: "text", list: list.id, value: current(block, one, use), placeholder: plainText(one.placeholder), "data-action": one.action_id,
    oninput: async (event) => {
      const query = event.target.value;
      use.change?.(block, one, query);
      const isPicked = [...list.children].some((option) => option.value === query);
      if (isPicked || query.length < (one.min_query_length ?? 3)) return;
      const texts = await use.suggest(one, query);
      refill(list, texts.map((text) => el("option", { value: text })));
    },
  });
  return el("span", { class: "external" }, input, list);
}

function ticks(block, one, use) {
  const many = one.type === "checkboxes";
  const chosen = new Set([current(block, one, use)].flat());
  const name = `${block.block_id}-${one.action_id}`;
  const box = el("div", { class: "ticks", role: many ? "group" : "radiogroup" });
  one.options.forEach((option) =>
    box.append(el("label", {},
      el("input", {
        type: many ? "checkbox" : "radio", name, value: option.value, checked: chosen.has(option.value),
        onchange: (event) => {
          if (!many) chosen.clear();
          if (event.target.checked) chosen.add(option.value);
          else chosen.delete(option.value);
          chose(block, one, use, many ? [...chosen] : option.value);
        },
      }),
      el("span", {}, plainText(option.text), option.description && el("small", {}, plainText(option.description))))));
  return box;
}

function typed(block, one, use) {
  const tag = one.multiline ? "textarea" : "input";
  const moment = one.type === "datetimepicker";
  return el(tag, {
    class: "field", type: tag === "input" ? TYPED[one.type] : null, rows: one.multiline ? 4 : null, "data-action": one.action_id,
    placeholder: plainText(one.placeholder) || null, maxlength: one.max_length ?? null, value: moment ? "" : current(block, one, use), autofocus: one.focus_on_load,
    oninput: (event) => use.change?.(block, one, moment ? Math.floor(new Date(event.target.value).getTime() / 1000) : event.target.value),
    onchange: (event) => block.type === "input" || use.press(block, one, event.target.value),
  });
}
