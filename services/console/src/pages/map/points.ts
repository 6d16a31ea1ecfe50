import { queryOptions } from "@tanstack/react-query";

import { api, pageOf, Refused } from "../../api/client";
import type { COLUMNS } from "../../router";
import type { Index } from "../../api/gateway";
import { fetched, type StoredFile } from "../../api/models";

export type Column = (typeof COLUMNS)[number];

/** The studies of an index in the plane, column by column, as `projection.json` has them. */
export interface Points {
  x: number[];
  y: number[];
  dataset: string[];
  sample: string[];
  source: string[];
  split: string[];
  label: string[];
  modality: string[];
}

export const pointsQuery = (index: Index | undefined) =>
  queryOptions({
    queryKey: ["points", index?.id, index?.version],
    enabled: index !== undefined,
    staleTime: Infinity,
    retry: false,
    queryFn: async ({ signal }): Promise<Points> => {
      const params = { path: { index: index?.name ?? "" }, query: { limit: 100, project: index?.project_id } };
      const files = pageOf<StoredFile>((await api.GET("/v1/indexes/{index}/files", { params, signal })).data).items;
      const file = files.find((each) => each.path.endsWith("projection.json"));
      if (!file) {
        throw new Refused(404, "The index has no map", "An index of fewer than 8 studies has none, nor has one that was made without a projection.", null);
      }
      return fetched<Points>(file.url, "The map", signal);
    },
  });

/** The values of a column, the most frequent ones first, with how many studies have each. */
export function valuesOf(points: Points, column: Column): [value: string, count: number][] {
  const counts = new Map<string, number>();
  for (const each of points[column]) counts.set(each, (counts.get(each) ?? 0) + 1);
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
