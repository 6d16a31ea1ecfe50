/** Numbers and times as people read them, always with their unit. */

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(value: number | null | undefined): string {
  if (value == null) return "–";
  let rest = value;
  let unit = 0;
  while (rest >= 1024 && unit < BYTES.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${unit === 0 || rest >= 100 ? Math.round(rest) : rest.toFixed(1)} ${BYTES[unit]}`;
}

export function duration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole === 0 && seconds > 0) return "< 1 s";
  if (whole < 60) return `${whole} s`;
  const days = Math.floor(whole / 86_400);
  const hours = Math.floor((whole % 86_400) / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return `${minutes} min ${whole % 60} s`;
}

export function number(value: number | null | undefined): string {
  if (value == null) return "–";
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-GB");
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2).replace(/\.?0+e/, "e") : String(Number(value.toPrecision(4)));
}

export function percent(fraction: number | null | undefined): string {
  return fraction == null ? "–" : `${(100 * fraction).toFixed(fraction < 0.1 ? 1 : 0)} %`;
}

// with the zone: an absolute time means nothing without it
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

/** The zone in which times are shown, as those of summer or winter now, e.g. CEST. */
export const zone = (): string => MOMENT.formatToParts().find((each) => each.type === "timeZoneName")?.value ?? "";

export function moment(at: string | null | undefined): string {
  return at ? MOMENT.format(new Date(at)) : "–";
}

export function ago(at: string | null | undefined, now = Date.now()): string {
  if (!at) return "–";
  const seconds = (now - new Date(at).getTime()) / 1000;
  if (seconds < 5) return "just now";
  const [value, unit] =
    seconds < 60 ? [seconds, "s"] : seconds < 3600 ? [seconds / 60, "min"] : seconds < 172_800 ? [seconds / 3600, "h"]
    : [seconds / 86_400, "days"];
  return `${Math.floor(value)} ${unit} ago`;
}

/** The unit of a metric, by how it is named. */
export function unitOf(name: string): string {
  if (name === "peak_memory_gib") return "GiB";
  if (name === "data_wait") return "share of the time";
  if (name.endsWith("_per_s")) return `${name.replace(/_per_s$/, "").replace("_", " ")} per second`;
  return "";
}
