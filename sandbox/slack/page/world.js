// What the page knows about the world: who looks, names, zones, and how moments are told in the viewer's zone.

export class World {
  load(state) {
    this.state = state;
    this.viewer = state.viewer;
    this.users = new Map(state.people.map((person) => [person.id, person]));
    this.person = this.users.get(state.viewer);
    this.people = state.people.filter((person) => !person.bot && !person.deleted);
    this.channels = state.channels;
    this.zone = this.person.tz;
    this.locale = this.person.locale;
    this.now = state.now;
  }

  userName(id) {
    return this.users.get(id)?.name;
  }

  channelName(id) {
    return this.channels.find((channel) => channel.id === id)?.name;
  }

  groupName(id) {
    return this.state.groups[id];
  }

  format(moment, options) {
    return new Intl.DateTimeFormat(this.locale, { timeZone: this.zone, ...options }).format(moment);
  }

  time(moment) {
    return this.format(moment, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  }

  fullTime(moment) {
    return this.format(moment, { dateStyle: "full", timeStyle: "long" });
  }

  dayKey(moment) {
    return new Intl.DateTimeFormat("en-CA", { timeZone: this.zone }).format(moment);
  }

  relativeDay(moment) {
    const days = { 0: 0, "-1": -1, 1: 1 };
    for (const [key, offset] of Object.entries(days)) {
      const day = new Date(this.now * 1000 + offset * 86_400_000);
      if (this.dayKey(day) === this.dayKey(moment)) {
        return new Intl.RelativeTimeFormat(this.locale, { numeric: "auto" }).format(Number(key), "day");
      }
    }
    return "";
  }

  ago(moment) {
    const seconds = Math.round(moment.getTime() / 1000 - this.now);
    const relative = new Intl.RelativeTimeFormat(this.locale, { numeric: "auto" });
    if (Math.abs(seconds) < 60) return relative.format(seconds, "second");
    if (Math.abs(seconds) < 3600) return relative.format(Math.round(seconds / 60), "minute");
    return Math.abs(seconds) < 86_400 ? relative.format(Math.round(seconds / 3600), "hour") : relative.format(Math.round(seconds / 86_400), "day");
  }
}
