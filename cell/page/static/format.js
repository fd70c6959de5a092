// Numbers, sizes and times as short texts.

const MIB = 1024 * 1024;
const UNITS = ["B", "KB", "MB", "GB", "TB"];

const clockFormat = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

/** A size in bytes, as `512 MB`. */
export function bytes(size) {
  let value = size;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${short(value)} ${UNITS[unit]}`;
}

/** A size in MiB. */
export const megabytes = (size) => bytes(size * MIB);

/** `1.2 of 7.8 GB`, both in MiB; without a limit only the first. */
export function share(used, total) {
  if (!total) return megabytes(used);
  const [, unit] = megabytes(total).split(" ");
  const divisor = MIB ** -1 * 1024 ** UNITS.indexOf(unit);
  return `${short(used / divisor)} of ${short(total / divisor)} ${unit}`;
}

function short(value) {
  if (value >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return value >= 10 ? String(Math.round(value)) : value.toFixed(1).replace(/\.0$/, "");
}

/** A duration in ms, as `0.8 s`, `3m 04s`, `2h 05m`, `5d 3h`. */
export function duration(ms) {
  const seconds = Math.max(ms, 0) / 1000;
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m ${two(Math.floor(seconds % 60))}s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}h ${two(minutes % 60)}m`;
  return `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

/** The age of something, coarser than a duration: it is shown in many rows. */
export function age(ms) {
  const seconds = Math.floor(Math.max(ms, 0) / 1000);
  return seconds < 60 ? `${seconds} s` : duration(seconds * 1000).replace(/^(\d+m) \d\ds$/, "$1");
}

const two = (value) => String(value).padStart(2, "0");

/** The time of day of ms since the epoch. */
export const clock = (ms) => clockFormat.format(new Date(ms));

/** Date and time, for titles. */
export const moment = (ms) => new Date(ms).toISOString().replace("T", " ").replace("Z", " UTC");

/** `1 instance`, `2 instances`. */
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
