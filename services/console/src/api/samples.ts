import { queryOptions } from "@tanstack/react-query";

import { type FileSample, isOpenable, isPacked, type Named, samplesOf } from "../samples/pairs";
import { allOf, api, type Artifact, pageOf } from "./client";
import type { Inspection, StoredFile } from "./datasets";

const AT_ONCE = 5000;
/** Names that are held in memory. */
const MOST = 200_000;

export type Kind = "volume" | "image" | "text" | "table";

/** A sample that can be looked at, wherever its files lie. */
export interface Sample {
  key: string;
  kind: Kind | null;
  split: string;
  label: string | null;
  source: string;
  /** As it is in the dataset, (z, y, x) or (y, x); empty while nobody has looked. */
  shape: readonly number[];
  spacing: readonly number[];
  window?: readonly [number, number] | undefined;
  image: Place | null;
  mask: Place | null;
  labels: Readonly<Record<string, string>>;
  text: string | null;
  problem: string;
}

/** A file: its address, or the path by which the dataset gives one. */
export interface Place {
  name: string;
  size: number;
  url?: string;
}

/** A line of `samples.json`. */
interface Line {
  key: string;
  source: string;
  split: string;
  label: string | null;
  kind: "volume" | "image" | "text" | null;
  shape: number[];
  spacing: number[];
  window: number[];
  image: string | null;
  mask: string | null;
  labels: Record<string, string>;
  text: string | null;
  problem: string;
}

export interface Drawn {
  of: number;
  samples: Sample[];
}

export interface Listed {
  samples: Sample[];
  /** Files that have to be taken apart first: DICOM, archives. */
  packed: number;
  /** How many names were read, when there are more. */
  cut: number | null;
}

/** The samples among the files of a raw dataset, by their names. */
export const listedQuery = (id: string) =>
  queryOptions({
    queryKey: ["samples", id], staleTime: Infinity,
    queryFn: async ({ signal }): Promise<Listed> => {
      const read = (cursor: string | null) => {
        const params = { path: { dataset_id: id }, query: { limit: AT_ONCE, fields: "path,size", cursor } };
        return api.GET("/v1/datasets/{dataset_id}/files", { params: params as never, signal });
      };
      const { items: files, next } = await allOf<Named>(read, MOST);
      return { samples: samplesOf(files).map(ofFile), packed: files.filter((each) => isPacked(each.path)).length, cut: next ? files.length : null };
    },
  });

function ofFile({ path, kind, split, label, size, mask }: FileSample): Sample {
  return {
    key: path, kind, split, label, source: path, shape: [], spacing: [], labels: {}, text: null, problem: "",
    image: isOpenable(path) ? { name: path, size } : null, mask: mask && isOpenable(mask.path) ? { name: mask.path, size: mask.size } : null,
  };
}

/** What the inspection has drawn; null when it has kept no samples. */
export const drawnQuery = (inspection: Inspection | null | undefined) =>
  queryOptions({
    queryKey: ["drawn-samples", inspection?.job.id ?? ""], staleTime: 300_000, enabled: Boolean(inspection?.report),
    queryFn: async ({ signal }): Promise<Drawn | null> => {
      const list = inspection?.artifacts.find((each) => each.name === "samples.json");
      if (!list) return null;
      const { of, samples } = JSON.parse(await (await fetched(list.url, list.name, signal)).text()) as { of: number; samples: Line[] };
      const kept = new Map(inspection?.artifacts.map((each) => [each.name, each]));
      return { of, samples: samples.map((each) => ofLine(each, kept)) };
    },
  });

function ofLine(line: Line, kept: ReadonlyMap<string, Artifact>): Sample {
  const place = (name: string | null): Place | null => {
    const file = kept.get(name ?? "");
    return file ? { name: file.name, size: file.size, url: file.url } : null;
  };
  const [low, high] = line.window;
  return { ...line, window: low !== undefined && high !== undefined ? [low, high] : undefined, image: place(line.image), mask: place(line.mask) };
}

/** Where a file of a dataset is fetched from. */
export const addressQuery = (id: string, path: string) =>
  queryOptions({
    queryKey: ["address", id, path], staleTime: 300_000,
    queryFn: async ({ signal }): Promise<string> => {
      const params = { path: { dataset_id: id }, query: { path, sort: "path", limit: 1 } };
      const found = pageOf<StoredFile>((await api.GET("/v1/datasets/{dataset_id}/files", { params: params as never, signal })).data).items[0];
      if (found?.path !== path) throw new Error(`the dataset no longer has ${path}`);
      return found.url;
    },
  });

/** A file of the object store. Raises with its name when it does not come. */
export async function fetched(url: string, name: string, signal: AbortSignal, most?: number): Promise<Response> {
  const answer = await fetch(url, { signal, headers: most ? { Range: `bytes=0-${most - 1}` } : {} });
  if (!answer.ok) throw new Error(`the object store gave no ${name}: ${answer.status} ${answer.statusText}`);
  return answer;
}
