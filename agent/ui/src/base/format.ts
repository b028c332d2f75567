/** Quantities in few characters. */

export function duration(ns: number): string {
  if (ns < 1_000) return `${ns} ns`;
  if (ns < 1_000_000) return `${digits(ns / 1e3)} µs`;
  if (ns < 1_000_000_000) return `${digits(ns / 1e6)} ms`;
  if (ns < 60e9) return `${digits(ns / 1e9)} s`;
  const seconds = Math.round(ns / 1e9);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
}

/** Three digits that count. */
function digits(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

/** A time as the search language takes it, not rounded up beyond what it says. */
export function searchTime(ns: number): string {
  if (ns >= 1e9) return `${(ns / 1e9).toFixed(3).replace(/\.?0+$/, '')}s`;
  if (ns >= 1e6) return `${(ns / 1e6).toFixed(3).replace(/\.?0+$/, '')}ms`;
  return `${(ns / 1e3).toFixed(3).replace(/\.?0+$/, '')}us`;
}

export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  if (count < 1024 * 1024) return `${digits(count / 1024)} KiB`;
  return `${digits(count / 1024 / 1024)} MiB`;
}

export function count(value: number): string {
  return value.toLocaleString('en-US').replaceAll(',', ' ');
}

const TIME = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const DAY = new Intl.DateTimeFormat('en-GB', { day: '2-digit', month: 'short' });

/** Time of day with milliseconds, and the day where it is not today. */
export function clock(unixNs: number): string {
  const date = new Date(unixNs / 1e6);
  const time = `${TIME.format(date)}.${String(date.getMilliseconds()).padStart(3, '0')}`;
  return date.toDateString() === new Date().toDateString() ? time : `${DAY.format(date)} ${time}`;
}

export function fullTime(unixNs: number): string {
  return new Date(unixNs / 1e6).toISOString().replace('T', ' ').replace('Z', ' UTC');
}

export function ago(unixNs: number, now = Date.now()): string {
  const seconds = Math.max(0, Math.round(now / 1000 - unixNs / 1e9));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

export function percent(part: number, whole: number): string {
  if (whole <= 0 || part <= 0) return '0 %';
  const value = (100 * part) / whole;
  if (value < 0.1) return '<0.1 %';
  return value < 10 ? `${value.toFixed(1)} %` : `${value.toFixed(0)} %`;
}

export function rate(perSecond: number): string {
  if (perSecond >= 10) return `${perSecond.toFixed(0)}/s`;
  if (perSecond >= 0.1) return `${perSecond.toFixed(1)}/s`;
  return `${(perSecond * 60).toFixed(1)}/min`;
}
