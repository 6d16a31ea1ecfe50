import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";

import { allOf, api, type Artifact, type Dataset, type Job, pageOf } from "./client";
import { artifactsOf } from "./queries";
import type { components } from "./schema";

export type StoredFile = components["schemas"]["FileOut"];
export type Node = components["schemas"]["NodeOut"];

interface Range {
  minimum: number;
  median: number;
  maximum: number;
}

export interface Intensities {
  values: number;
  minimum: number;
  maximum: number;
  mean: number;
  std: number;
  percentiles: Record<string, number>;
  start: number;
  width: number;
  counts: number[];
}

/** `report.json` of an inspection, as far as it is shown. */
export interface Report {
  source: string;
  samples: number;
  files: Record<string, number>;
  splits: Record<string, number>;
  classes: Record<string, Record<string, number>>;
  patients: Record<string, number>;
  shapes: Record<string, number>;
  size: Range[];
  channels: Record<string, number>;
  types: Record<string, number>;
  spacing: Range[];
  target_spacing: number[] | null;
  intensities: Record<string, Intensities>;
  foreground: Intensities | null;
  masks: number;
  label_voxels: Record<string, number>;
  texts: { reports: number; empty: number; words: Range | null; characters: Range | null; vocabulary: number } | null;
  unreadable: { path: string; reason: string }[];
  left_out: { path: string; reason: string }[];
  warnings: { code: string; detail: string; advice: string; count: number; where: string[] }[];
}

export interface Inspection {
  job: Job;
  report: Report | null;
  artifacts: Artifact[];
}

/** The newest inspection of a dataset; null when nobody has looked yet. */
export const inspectionQuery = (id: string) =>
  queryOptions({
    queryKey: ["inspection", id], staleTime: 60_000,
    queryFn: async ({ signal }): Promise<Inspection | null> => {
      const query = { kind: ["inspect_dataset"], input: [id], limit: 100, fields: "id,name,kind,state,spec,progress,created_at,finished_at,error,reason" };
      const mine = pageOf<Job>((await api.GET("/v1/jobs", { params: { query }, signal })).data).items;
      // one that runs is shown as such, one that has failed only where no other has an answer
      const job = mine.find((each) => !["failed", "cancelled"].includes(each.state)) ?? mine[0];
      if (!job) return null;
      if (job.state !== "succeeded") return { job, report: null, artifacts: [] };
      const artifacts = (await artifactsOf(job.id, signal)).items;
      const file = artifacts.find((each) => each.name === "report.json");
      const report = file ? ((await (await fetch(file.url, { signal })).json()) as Report) : null;
      return { job, report, artifacts };
    },
    refetchInterval: ({ state }) => (state.data && !["succeeded", "failed", "cancelled"].includes(state.data.job.state) ? 3000 : false),
  });

export const filesQuery = (id: string, limit: number) =>
  infiniteQueryOptions({
    queryKey: ["files", id, limit], staleTime: 300_000,
    queryFn: async ({ pageParam, signal }) => {
      const params = { path: { dataset_id: id }, query: { limit, cursor: pageParam } };
      return pageOf<StoredFile>((await api.GET("/v1/datasets/{dataset_id}/files", { params: params as never, signal })).data);
    },
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });

export const versionsQuery = (dataset: Dataset) =>
  queryOptions({
    queryKey: ["versions", dataset.id],
    queryFn: async ({ signal }): Promise<Dataset[]> => {
      const query = { name: dataset.name, role: [dataset.role], project: dataset.project_id, limit: 500, sort: "name" };
      const read = (cursor: string | null) => api.GET("/v1/datasets", { params: { query: { ...query, cursor } as never }, signal });
      // by name: those that only begin so come after those that are called so
      const found = await allOf<Dataset>(read, Infinity, (last) => last.name.toLowerCase() !== dataset.name.toLowerCase());
      return found.items.filter((each) => each.name === dataset.name).sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
    },
  });

export const progenyQuery = (id: string) =>
  queryOptions({
    queryKey: ["progeny", id],
    queryFn: async ({ signal }) => {
      const params = { path: { dataset_id: id }, query: { direction: "uses" } };
      return (await api.GET("/v1/datasets/{dataset_id}/lineage", { params: params as never, signal })).data as components["schemas"]["LineageOut"];
    },
  });
