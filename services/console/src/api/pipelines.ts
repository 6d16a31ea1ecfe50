import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";

import { api, type JobState, pageOf } from "./client";
import { PAGE } from "./queries";
import type { components } from "./schema";

export type Pipeline = components["schemas"]["PipelineOut"];
export type Step = components["schemas"]["StepOut"];
export type PipelineVerb = "cancel" | "pause" | "resume" | "retry";

export interface PipelineFilters {
  project?: string | undefined;
  state?: JobState[] | undefined;
  name?: string | undefined;
}

const GOES_ON = new Set(["waiting", "queued", "running"]);
export const goesOn = (state: string) => GOES_ON.has(state);

/** States come by the stream of events; how far the running jobs are does not. */
const PROGRESS_MS = 5000;

export const pipelinesQuery = (filters: PipelineFilters) =>
  infiniteQueryOptions({
    queryKey: ["pipelines", filters],
    queryFn: async ({ pageParam, signal }) => {
      const query = { ...filters, limit: PAGE, cursor: pageParam };
      return pageOf<Pipeline>((await api.GET("/v1/pipelines", { params: { query }, signal })).data);
    },
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
    refetchInterval: ({ state }) =>
      state.data?.pages.length === 1 && state.data.pages[0]?.items.some((each) => each.state === "running") ? PROGRESS_MS : false,
  });

export const pipelineQuery = (id: string) =>
  queryOptions({
    queryKey: ["pipeline", id],
    queryFn: async ({ signal }): Promise<Pipeline> =>
      (await api.GET("/v1/pipelines/{pipeline_id}", { params: { path: { pipeline_id: id } }, signal })).data as Pipeline,
    refetchInterval: ({ state }) => (state.data && goesOn(state.data.state) ? PROGRESS_MS : false),
  });

export async function askPipeline(verb: PipelineVerb, id: string): Promise<Pipeline> {
  const params = { path: { pipeline_id: id } };
  const asked =
    verb === "cancel" ? api.POST("/v1/pipelines/{pipeline_id}/cancel", { params })
    : verb === "pause" ? api.POST("/v1/pipelines/{pipeline_id}/pause", { params })
    : verb === "resume" ? api.POST("/v1/pipelines/{pipeline_id}/resume", { params })
    : api.POST("/v1/pipelines/{pipeline_id}/retry", { params });
  return (await asked).data as Pipeline;
}
