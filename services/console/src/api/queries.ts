import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";

import { allOf, api, type Artifact, type Dataset, type Job, type JobState, type Log, type Me, type Model, pageOf, type Worker } from "./client";

export const PAGE = 100;
/** What a row of a table shows. */
const ROW =
  "id,name,kind,state,progress,reason,error,attempt,max_attempts,worker,priority,created_by,created_at,started_at,finished_at,ran_s,tags,parent,not_before";

export interface JobFilters {
  project?: string | undefined;
  state?: JobState[] | undefined;
  kind?: string[] | undefined;
  name?: string | undefined;
  tag?: string | undefined;
  created_by?: string | undefined;
  sort?: string | undefined;
}

function jobQuery(filters: JobFilters) {
  const { tag, created_by, ...rest } = filters;
  return { ...rest, tag: tag ? [tag] : undefined, created_by: created_by ? [created_by] : undefined };
}

export const meQuery = () =>
  queryOptions({
    queryKey: ["me"],
    queryFn: async ({ signal }): Promise<Me> => (await api.GET("/v1/me", { signal })).data as Me,
    staleTime: 300_000,
  });

/** The first page of a list of jobs; it is read again when jobs change. */
export const jobsHead = (filters: JobFilters, limit = PAGE) =>
  queryOptions({
    queryKey: ["jobs", "head", filters, limit],
    queryFn: async ({ signal }) => {
      const query = { ...jobQuery(filters), limit, fields: ROW };
      return pageOf<Job>((await api.GET("/v1/jobs", { params: { query }, signal })).data);
    },
  });

/** The pages after the first one; they are not read again, changes of their rows come by the stream. */
export const jobsTail = (filters: JobFilters, from: string | null) =>
  infiniteQueryOptions({
    queryKey: ["jobs-tail", filters, from],
    queryFn: async ({ pageParam, signal }) => {
      const query = { ...jobQuery(filters), limit: 500, fields: ROW, cursor: pageParam };
      return pageOf<Job>((await api.GET("/v1/jobs", { params: { query }, signal })).data);
    },
    initialPageParam: from,
    getNextPageParam: (last) => last.next,
    enabled: false,
    staleTime: Infinity,
  });

export const jobQueryOf = (id: string) =>
  queryOptions({
    queryKey: ["job", id],
    queryFn: async ({ signal }): Promise<Job> =>
      (await api.GET("/v1/jobs/{job_id}", { params: { path: { job_id: id } }, signal })).data as Job,
  });

/** Most files of a job that are shown. */
export const MOST_FILES = 5000;

/** The files that a job has kept, by name. */
export const artifactsOf = (job_id: string, signal: AbortSignal) =>
  allOf<Artifact>((cursor) => api.GET("/v1/jobs/{job_id}/artifacts", { params: { path: { job_id }, query: { limit: 500, cursor } }, signal }), MOST_FILES);

export const artifactsQuery = (id: string) =>
  queryOptions({
    queryKey: ["artifacts", id],
    queryFn: ({ signal }) => artifactsOf(id, signal),
  });

export const LEVELS = ["debug", "info", "warning", "error"] as const;
export type Level = (typeof LEVELS)[number];
/** Lines of a log in an answer. */
export const LOG_PAGE = 500;
const LAST = Number.MAX_SAFE_INTEGER;

export interface Lines {
  items: Log[];
  /** Everything up to this line has been looked through. */
  next: number;
  matches: number | null;
}

/** Lines of a job's whole log that hold a text and are of a level or above: the last ones, and page by page those before. */
export const logQuery = (id: string, contains: string, level: Level) =>
  infiniteQueryOptions({
    queryKey: ["log", id, contains, level],
    queryFn: async ({ pageParam, signal }) => {
      const query = { before: pageParam, limit: LOG_PAGE, level, ...(contains ? { contains } : {}), ...(pageParam === LAST ? { count: true } : {}) };
      return (await api.GET("/v1/jobs/{job_id}/logs", { params: { path: { job_id: id }, query }, signal })).data as Lines;
    },
    initialPageParam: LAST,
    getNextPageParam: ({ items }) => (items.length < LOG_PAGE ? null : items[0]?.seq),
    // lines that come later are told by the stream
    staleTime: Infinity,
    gcTime: 0,
    refetchOnReconnect: false,
  });

export const workersQuery = () =>
  queryOptions({
    queryKey: ["workers"],
    queryFn: async ({ signal }) => pageOf<Worker>((await api.GET("/v1/workers", { signal })).data),
    // they tell of themselves every few seconds, and there is no stream of it
    refetchInterval: 10_000,
  });

export const kindsQuery = () =>
  queryOptions({
    queryKey: ["kinds"],
    queryFn: async ({ signal }) =>
      pageOf<{ name: string; description: string }>((await api.GET("/v1/job-kinds", { signal })).data),
    staleTime: Infinity,
  });

export interface ModelFilters {
  project?: string | undefined;
  task?: ("encoder" | "classification" | "segmentation")[] | undefined;
  modality?: string[] | undefined;
  name?: string | undefined;
}

const MODEL = "id,name,task,size,modalities,stage,modality,kind,classes,metrics,tags,job_id,dataset_id,total_bytes,created_at";

export const modelsQuery = (filters: ModelFilters, limit = PAGE) =>
  infiniteQueryOptions({
    queryKey: ["models", filters, limit],
    queryFn: async ({ pageParam, signal }) => {
      const query = { ...filters, limit, fields: MODEL, cursor: pageParam } as never;
      return pageOf<Model>((await api.GET("/v1/models", { params: { query }, signal })).data);
    },
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });

export interface DatasetFilters {
  project?: string | undefined;
  role?: ("raw" | "prepared" | "buffer")[] | undefined;
  modality?: string[] | undefined;
  name?: string | undefined;
}

const DATASET =
  "id,name,role,state,modality,kind,samples,splits,classes,has_masks,sample_shape,bad_files,file_count,total_bytes,tags,job_id,created_at";

export const datasetsQuery = (filters: DatasetFilters, limit = PAGE) =>
  infiniteQueryOptions({
    queryKey: ["datasets", filters, limit],
    queryFn: async ({ pageParam, signal }) => {
      const query = { ...filters, limit, fields: DATASET, cursor: pageParam } as never;
      return pageOf<Dataset>((await api.GET("/v1/datasets", { params: { query }, signal })).data);
    },
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });

export const datasetQuery = (id: string) =>
  queryOptions({
    queryKey: ["dataset", id],
    queryFn: async ({ signal }): Promise<Dataset> =>
      (await api.GET("/v1/datasets/{dataset_id}", { params: { path: { dataset_id: id } }, signal })).data as Dataset,
  });
