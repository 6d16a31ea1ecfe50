import type { LinkProps } from "@tanstack/react-router";

type Place = Pick<LinkProps, "to" | "params" | "search"> & { what: string };

const PLACES: Record<string, (id: string) => Place> = {
  ds: (id) => ({ what: "dataset", to: "/datasets/$id", params: { id } }),
  mdl: (id) => ({ what: "model", to: "/models/$modelId", params: { modelId: id } }),
  evl: (id) => ({ what: "evaluation", to: "/evaluations", search: { id: [id] } }),
  idx: (id) => ({ what: "index", to: "/map", search: { index: id } }),
  job: (id) => ({ what: "job", to: "/jobs/$id", params: { id } }),
};

/** The page of something, by the beginning of its id; null where it has none. */
export function placeOf(id: string): Place | null {
  return PLACES[id.split("_", 1)[0] ?? ""]?.(id) ?? null;
}
