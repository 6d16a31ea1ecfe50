import { queryOptions } from "@tanstack/react-query";

import { api, pageOf, Refused } from "../../api/client";
import type { COLUMNS } from "../../router";
import type { Index } from "../../api/indexes";
import { type Home, homesOf } from "../../api/homes";
import { fetched, type StoredFile } from "../../api/models";
import { colorOf, orderedColorOf } from "../../plots/colors";

export type Column = (typeof COLUMNS)[number];

/** The studies of an index in the plane, column by column, as `projection.json` has them. */
export interface Points {
  x: number[];
  y: number[];
  /** What their datasets are called; the id of one that is gone. */
  dataset: string[];
  homes: (Home | undefined)[];
  sample: string[];
  source: string[];
  split: string[];
  label: string[];
  modality: string[];
  /** The day on which its dataset was made; empty where that is gone. */
  made: string[];
}

export const pointsQuery = (index: Index | undefined) =>
  queryOptions({
    queryKey: ["points", index?.id, index?.version],
    enabled: index !== undefined && index.version > 0,
    staleTime: Infinity,
    retry: false,
    queryFn: async ({ signal }): Promise<Points> => {
      const params = { path: { index: index?.name ?? "" }, query: { limit: 100, project: index?.project_id } };
      const files = pageOf<StoredFile>((await api.GET("/v1/indexes/{index}/files", { params, signal })).data).items;
      const file = files.find((each) => each.path.endsWith("projection.json"));
      if (!file) {
        throw new Refused(404, "The index has no map", "An index of fewer than 8 studies has none, nor has one that was made without a projection.", null);
      }
      const found = await fetched<Omit<Points, "made" | "homes">>(file.url, "The map", signal);
      const known = await homesOf([...new Set(found.dataset)], signal);
      const homes = found.dataset.map((each) => known.get(each));
      return { ...found, homes, dataset: found.dataset.map((each, at) => homes[at]?.label ?? each), made: homes.map((each) => each?.day ?? "") };
    },
  });

/** A column in words. */
export const wordsOf = (column: Column) => (column === "made" ? "time" : column);

/** Most groups that a map tells apart. */
export const NAMED = 7;

/** A column as the map groups and colours it, with the groups in the order of their colours: days are put together until few are left. */
export interface Grouped {
  of: string[];
  groups: [name: string, count: number][];
  color: (rank: number) => string;
}

export function grouped(points: Points, column: Column): Grouped {
  if (column !== "made") return { of: points[column], groups: valuesOf(points[column]), color: colorOf };
  const days = [...new Set(points.made)].filter(Boolean).sort();
  const each = Math.ceil(days.length / NAMED);
  const names = new Map(days.map((day, at) => {
    const [first, last] = [days[at - (at % each)], days[Math.min(days.length, at - (at % each) + each) - 1]];
    return [day, first === last ? day : `${first} to ${last}`];
  }));
  const of = points.made.map((day) => names.get(day) ?? "");
  const groups = valuesOf(of).sort(([a], [b]) => (a || "~").localeCompare(b || "~"));
  return { of, groups, color: (rank) => orderedColorOf(rank, groups.length) };
}

/** The values of a column, the most frequent ones first, with how many studies have each. */
function valuesOf(column: readonly string[]): [value: string, count: number][] {
  const counts = new Map<string, number>();
  for (const each of column) counts.set(each, (counts.get(each) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

export type Place = readonly [x: number, y: number];

/** Whether a place lies within a polygon, by the crossings of a ray. */
export function within([x, y]: Place, polygon: readonly Place[]): boolean {
  let inside = false;
  for (let at = 0, last = polygon.length - 1; at < polygon.length; last = at++) {
    const [ax, ay] = polygon[at] as Place;
    const [bx, by] = polygon[last] as Place;
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}
