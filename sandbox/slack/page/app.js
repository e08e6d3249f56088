// The page: chooses what to show, listens to the world, and sends what the person does.

import { el, get, post, refill } from "./dom.js";
import { drawBlocks } from "./blocks.js";
import { MessageList } from "./messages.js";
import { confirmDialog, Modals } from "./modals.js";
import { World } from "./world.js";

const $ = (id) => document.getElementById(id);
const world = new World();
const modals = new Modals(world);
const main = new MessageList($("messages"), world, (doc) => openThread(doc.thread_ts || doc.ts));
const side = new MessageList($("replies"), world, null);
const unread = new Map();
let known = new Map();
let channel = "";
let thread = "";
let tab = "messages";
let source = null;

world.tell = async (answer) => {
  const { ok, error } = await answer;
  if (!ok && error && !/_(timeout|failed)$|^invalid_command/.test(error)) toast(error);
};

function toast(text) {
  const node = el("div", { class: "toast" }, text);
  $("toasts").append(node);
  setTimeout(() => node.remove(), 8000);
}

// Where we are stands in the address, so that two windows can be two people.

function readPlace() {
  const [person, room, ts] = decodeURIComponent(location.hash.slice(1)).split("/");
  return { person: person || "", room: room || "", ts: ts || "" };
}

function writePlace() {
  const room = channel === world.state.dm.id ? "dm" : world.channelName(channel) ?? channel;
  history.replaceState(null, "", `/#${[world.person.name, room, thread].filter(Boolean).join("/")}`);
}

function fromPermalink() {
  const found = location.pathname.match(/^\/archives\/(\w+)\/p(\d+)(\d{6})$/);
  if (!found) return null;
  return { room: found[1], ts: `${found[2]}.${found[3]}`, thread: new URLSearchParams(location.search).get("thread_ts") };
}

// Seen marks live in this browser, by person.

function seenKey() {
  return `seen:${world.state.team}:${world.person.name}`;
}

function seen() {
  return JSON.parse(localStorage.getItem(seenKey()) ?? "{}");
}

function markSeen(id) {
  const newest = Math.max(0, ...[...(known.get(id) ?? [])].map(Number));
  localStorage.setItem(seenKey(), JSON.stringify({ ...seen(), [id]: newest }));
  unread.set(id, 0);
  drawRooms();
}

// Drawing.

function drawRooms() {
  const item = (room, label, symbol) => {
    const count = unread.get(room.id) ?? 0;
    const classes = ["item", room.id === channel && "here", count && "unread", room.archived && "archived"].filter(Boolean).join(" ");
    return el("li", {}, el("button", { type: "button", class: classes, "aria-current": room.id === channel ? "page" : null, onclick: () => openRoom(room.id) },
      el("span", { class: "symbol", "aria-hidden": "true" }, symbol), el("span", { class: "name" }, label),
      room.archived && el("small", {}, "archived"),
      count > 0 && el("span", { class: "badge", "aria-label": `${count} unread` }, count > 29 ? "30+" : String(count))));
  };
  refill($("channels"), world.channels.map((room) => item(room, room.name, "#")));
  refill($("dms"), item(world.state.dm, world.state.bot.name, "当"));
}

function drawTop() {
  const { state } = world;
  document.title = `${state.team} - ${world.person.real_name}`;
  $("team").textContent = state.team;
  refill($("person"), world.people.map((person) => el("option", { value: person.name, selected: person.id === world.viewer }, person.real_name)));
  $("whoami").textContent = [world.person.title, world.person.locale, world.zone].filter(Boolean).join(" · ");
  $("advance").hidden = !state.advance;
  const steps = [["+1 min", 60], ["+5 min", 300], ["+15 min", 900], ["+1 h", 3600]];
  refill($("advance"), steps.map(([label, seconds]) => el("button", { type: "button", class: "btn small", onclick: () => advance(seconds) }, label)));
  refill($("buttons"), state.buttons.map((one) => el("button", { type: "button", class: "btn small", onclick: () => worldButton(one) }, one.label)));
  refill($("sliders"), state.sliders.map(dial));
  drawStatus(state);
}

// A dial of the world: what it is set to is said while it moves, and sent when it is let go.
function dial(one) {
  const said = el("output", {}, `${one.value} ${one.unit}`);
  const input = el("input", { type: "range", min: one.low, max: one.high, step: one.step, value: one.value, "aria-label": one.label });
  input.addEventListener("input", () => { said.textContent = `${input.value} ${one.unit}`; });
  input.addEventListener("change", async () => {
    const answer = await post(one.path, { value: Number(input.value) });
    toast(answer.ok ? `${one.label}: ${input.value} ${one.unit}` : `${one.label}: ${answer.error ?? "failed"}`);
  });
  return el("label", { class: "dial" }, el("span", {}, one.label), input, said);
}

function drawStatus(told) {
  world.now = told.now;
  const moment = new Date(told.now * 1000);
  $("now").textContent = world.format(moment, { weekday: "short", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  $("now").dateTime = moment.toISOString();
  refill($("status"), Object.entries(told.status).map(([key, value]) => el("span", { class: `state ${/down|stopped|dead|lost/i.test(value) ? "bad" : "good"}` }, `${key}: ${value}`)));
}

function drawHome(view) {
  const use = view && {
    world,
    confirm: (confirm) => confirmDialog(world, confirm),
    press: (block, one, option) => world.tell(post("/world/press_view", { person: world.person.name, view_id: view.id, action_id: one.action_id, block_id: block.block_id, option: option ?? null })),
  };
  refill($("home"), view ? drawBlocks(view.blocks, use) : el("p", { class: "empty" }, "The app has not published a Home tab for you yet."));
}

function drawTabs() {
  const im = channel === world.state.dm.id;
  $("tabs").hidden = !im;
  const choose = (name) => el("button", { type: "button", role: "tab", class: "tab", "aria-selected": String(tab === name), onclick: () => openTab(name) }, name === "home" ? "Home" : "Messages");
  refill($("tabs"), choose("home"), choose("messages"));
  $("home").hidden = !im || tab !== "home";
  $("messages").hidden = im && tab === "home";
  $("composer").hidden = im && tab === "home";
}

// Moving about.

async function openRoom(id) {
  channel = id;
  tab = "messages";
  closeThread();
  const im = id === world.state.dm.id;
  const room = im ? world.state.dm : world.channels.find((one) => one.id === id);
  $("title").textContent = im ? world.state.bot.name : `# ${room.name}`;
  $("topic").textContent = im ? "Messages only you and the app can read" : [room.topic, `${room.members} members`, room.bot_in ? "" : "the app is not in this channel", room.archived ? "archived" : ""].filter(Boolean).join(" · ");
  composer($("composer"), im ? world.state.bot.name : `#${room.name}`, () => "");
  drawTabs();
  writePlace();
  const { messages } = await get("/world/messages", { person: world.person.name, channel: id });
  if (channel !== id) return;
  known.set(id, new Set(messages.map((doc) => doc.ts)));
  main.fill(messages, "Nothing here yet.");
  markSeen(id);
}

function openTab(name) {
  tab = name;
  drawTabs();
  drawHome(world.state.views.home);
  if (name === "home") world.tell(post("/world/home", { person: world.person.name }));
}

async function openThread(ts) {
  thread = ts;
  $("thread").hidden = false;
  document.body.classList.add("with-thread");
  $("thread-of").textContent = $("title").textContent;
  composer($("thread-composer"), "thread", () => thread);
  writePlace();
  const { messages } = await get("/world/messages", { person: world.person.name, channel, thread: ts });
  if (thread === ts) side.fill(messages, "This thread is empty.");
}

function closeThread() {
  thread = "";
  $("thread").hidden = true;
  document.body.classList.remove("with-thread");
}

$("thread-close").addEventListener("click", () => {
  closeThread();
  writePlace();
});
$("person").addEventListener("change", (event) => start(event.target.value, channel === world.state.dm.id ? "dm" : channel));

// Doing.

function composer(form, place, threadOf) {
  const field = el("textarea", { rows: 1, "aria-label": `Message ${place}`, placeholder: `Message ${place}` });
  const hints = el("div", { class: "hints", role: "listbox", "aria-label": "Commands", hidden: true });
  const send = async () => {
    const text = field.value.trim();
    if (!text) return;
    field.value = "";
    hint();
    await world.tell(post("/world/type", { person: world.person.name, channel, text, thread_ts: threadOf() }));
  };
  const hint = () => {
    const matching = /^\/\S*$/.test(field.value) ? world.state.commands.filter((command) => command.startsWith(field.value) && command !== field.value) : [];
    hints.hidden = !matching.length;
    refill(hints, matching.map((command) => el("button", { type: "button", role: "option", onclick: () => { field.value = `${command} `; hint(); field.focus(); } }, command)));
  };
  field.addEventListener("input", hint);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
    if (event.key === "Tab" && !hints.hidden) {
      event.preventDefault();
      hints.firstChild.click();
    }
  });
  form.onsubmit = (event) => {
    event.preventDefault();
    send();
  };
  refill(form, hints, field, el("button", { type: "submit", class: "btn primary", "aria-label": "Send" }, "Send"));
}

async function advance(seconds) {
  const told = await post("/world/clock", { advance: seconds });
  if (told.ok) drawStatus(told);
  else toast(told.error);
}

async function worldButton(one) {
  if (one.confirm) {
    const text = (words) => ({ type: "plain_text", text: words });
    const sure = await confirmDialog(world, { title: text(one.label), text: text(one.confirm), confirm: text(one.label), deny: text("Cancel") });
    if (!sure) return;
  }
  const answer = await post(one.path);
  toast(answer.ok === false ? `${one.label}: ${answer.error ?? "failed"}` : answer.text ?? `${one.label}: done`);
  poll();
}

// Listening.

function arrived(change) {
  const doc = change.message;
  if (change.kind === "toast") toast(change.text);
  else if (change.kind === "view") {
    world.state.views = change.views;
    modals.show(change.views.modals);
    drawHome(change.views.home);
  } else if (change.kind === "clock") poll();
  else if (change.kind === "room" || change.kind === "user") refresh();
  else if (change.kind === "deleted" || (change.kind === "ephemeral" && !doc)) {
    main.drop(change.ts);
    side.drop(change.ts);
    if (change.text && change.channel === channel) refreshThread();
  } else if (doc) placed(change, doc);
}

function placed(change, doc) {
  const inThread = doc.thread_ts && doc.thread_ts !== doc.ts;
  const top = !inThread || doc.broadcast;
  if (doc.channel === channel) {
    if (top) main.put(doc);
    if (change.parent && main.docs.has(change.parent.ts)) main.put(change.parent);
    if (thread && (doc.thread_ts === thread || doc.ts === thread)) side.put(doc);
  }
  const before = known.get(doc.channel) ?? new Set();
  known.set(doc.channel, before);
  if (!top || before.has(doc.ts)) return;
  before.add(doc.ts);
  if (doc.channel === channel && document.visibilityState === "visible") markSeen(channel);
  else if (doc.user !== world.viewer) unread.set(doc.channel, (unread.get(doc.channel) ?? 0) + 1);
  drawRooms();
}

async function refreshThread() {
  if (thread) openThread(thread);
  const { messages } = await get("/world/messages", { person: world.person.name, channel });
  main.fill(messages, "Nothing here yet.");
}

async function refresh() {
  world.load(await get("/world/state", { person: world.person.name }));
  if (channel !== world.state.dm.id && !world.channelName(channel)) await openRoom(world.channels[0].id);
  drawTop();
  drawRooms();
}

async function poll() {
  try {
    drawStatus(await get("/world/status"));
  } catch {
    refill($("status"), el("span", { class: "state bad" }, "sandbox: not answering"));
  }
}

async function start(person, room, ts) {
  source?.close();
  world.load(await get("/world/state", { person }));
  known = new Map();
  unread.clear();
  const marks = seen();
  for (const one of [...world.channels, world.state.dm]) {
    known.set(one.id, new Set(one.recent.map(([stamp]) => stamp)));
    unread.set(one.id, one.recent.filter(([stamp, user]) => Number(stamp) > (marks[one.id] ?? 0) && user !== world.viewer).length);
  }
  drawTop();
  await listen(world.person.name);
  const wanted = room === "dm" ? world.state.dm : world.channels.find((one) => one.id === room || one.name === room);
  await openRoom((wanted ?? world.channels.find((one) => one.name === "alerts") ?? world.channels[0]).id);
  if (ts) await openThread(ts);
  modals.hide();
  modals.show(world.state.views.modals);
}

// Opens the stream of changes; a stream that was lost and comes back reloads everything it may have missed.
function listen(person) {
  source = new EventSource(`/world/stream?${new URLSearchParams({ person })}`);
  source.onmessage = (event) => arrived(JSON.parse(event.data));
  return new Promise((resolve) => {
    let first = true;
    source.onopen = () => {
      if (!first) start(world.person.name, channel, thread);
      first = false;
      resolve();
    };
  });
}

const link = fromPermalink();
const place = readPlace();
await start(place.person, link?.room ?? place.room, link?.thread ?? place.ts);
if (link) main.nodes.get(link.ts)?.classList.add("changed");
document.body.dataset.ready = "true";
setInterval(poll, 2000);
