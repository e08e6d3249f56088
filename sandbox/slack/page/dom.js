// Builds elements from data; the page never parses HTML, so text from outside stays text.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else if (name === "checked" || name === "selected" || name === "disabled" || name === "hidden") node[name] = true;
    else node.setAttribute(name, value === true ? "" : value);
  }
  add(node, children);
  return node;
}

export function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export function refill(node, ...children) {
  node.replaceChildren();
  return add(node, children);
}

// Only web and mail addresses become links; anything else is shown as text.
export function safeUrl(url) {
  return /^(https?:\/\/|mailto:)/i.test(url) ? url : null;
}

// Where a picture's bytes are: on the web, or a file of this workspace.
export function imageUrl(image) {
  const file = image.slack_file?.id ?? /[-/](F[A-Z0-9]{8,})\//.exec(image.slack_file?.url ?? "")?.[1];
  return file ? `/world/files/${encodeURIComponent(file)}` : safeUrl(image.image_url ?? "");
}

export async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Sandbox": "1" },
    body: JSON.stringify(body ?? {}),
  });
  let data = {};
  try {
    data = await answer.json();
  } catch {
    data = { ok: answer.ok };
  }
  if (!answer.ok && data.ok === undefined) data.ok = false;
  return data;
}

export async function get(path, query = {}) {
  const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}
