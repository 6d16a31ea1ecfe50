import type { Values } from "./schema";

/** The object that an address holds as JSON; null for anything else, which somebody may have typed. */
export function parsed(text: string | undefined): Values | null {
  try {
    const found: unknown = JSON.parse(text ?? "null");
    return isObject(found) ? found : null;
  } catch {
    return null;
  }
}

export const isObject = (value: unknown): value is Values => typeof value === "object" && value !== null && !Array.isArray(value);
