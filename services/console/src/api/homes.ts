import { queryOptions } from "@tanstack/react-query";

import { api, type Dataset, Refused } from "./client";

/** The dataset of a study: what people call it, when it was made, and the raw dataset that it was prepared from. */
export interface Home {
  id: string;
  label: string;
  day: string;
  raw: string | null;
}

/** What datasets are called, by id; those that are gone, or not seen, are left out. */
export const homesQuery = (ids: readonly string[]) =>
  queryOptions({ queryKey: ["homes", ...ids], staleTime: Infinity, retry: false, enabled: ids.length > 0, queryFn: ({ signal }) => homesOf(ids, signal) });

export async function homesOf(ids: readonly string[], signal: AbortSignal): Promise<Map<string, Home>> {
  const found = await Promise.all(ids.map((id) => datasetOf(id, signal)));
  const there = found.filter((each) => each !== null);
  return new Map(there.map((each) => {
    const isAlone = there.filter(({ name }) => name === each.name).length === 1;
    // of several that it was made of nobody knows which one a file is in
    const raw = each.parents.length === 1 && each.parents[0]?.startsWith("ds_") ? each.parents[0] : null;
    return [each.id, { id: each.id, label: isAlone ? each.name : `${each.name} (${each.id})`, day: each.created_at.slice(0, 10), raw }];
  }));
}

async function datasetOf(dataset_id: string, signal: AbortSignal): Promise<Dataset | null> {
  const found = await api.GET("/v1/datasets/{dataset_id}", { params: { path: { dataset_id } }, signal }).catch((error: unknown) => {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  });
  return found?.data ?? null;
}
