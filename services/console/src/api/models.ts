import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";

import { allOf, api, type Model, pageOf, Refused } from "./client";
import type { components } from "./schema";

type Schemas = components["schemas"];
export type Line = Schemas["LineOut"];
export type Evaluation = Schemas["EvaluationOut"];
export type Comparison = Schemas["ComparisonOut"];
export type Lineage = Schemas["LineageOut"];
export type Alias = Schemas["AliasOut"];
export type GateCheck = Schemas["GateCheck"];
export type Promotion = Schemas["PromotionOut"];
export type Deployment = Schemas["DeploymentOut"];
export type StoredFile = Schemas["FileOut"];

const of = (model_id: string) => ({ path: { model_id } });

export const modelQuery = (id: string) =>
  queryOptions({
    queryKey: ["model", id],
    queryFn: async ({ signal }) => (await api.GET("/v1/models/{model_id}", { params: of(id), signal })).data as Model,
  });

export const lineQuery = (id: string) =>
  queryOptions({
    queryKey: ["line", id],
    queryFn: async ({ signal }) => (await api.GET("/v1/models/{model_id}/line", { params: of(id), signal })).data as Line,
  });

export const lineageQuery = (id: string, direction: "origins" | "uses") =>
  queryOptions({
    queryKey: ["lineage", id, direction],
    queryFn: async ({ signal }) =>
      (await api.GET("/v1/models/{model_id}/lineage", { params: { ...of(id), query: { direction } }, signal })).data as Lineage,
  });

export const cardQuery = (id: string) =>
  queryOptions({
    queryKey: ["card", id],
    queryFn: async ({ signal }) => (await api.GET("/v1/models/{model_id}/card", { params: of(id), signal })).data as Schemas["CardOut"],
  });

export interface EvaluationFilters {
  project?: string | undefined;
  model?: string[] | undefined;
  dataset?: string[] | undefined;
  split?: Evaluation["split"][] | undefined;
  task?: Evaluation["task"][] | undefined;
}

export const evaluationsQuery = (filters: EvaluationFilters) =>
  infiniteQueryOptions({
    queryKey: ["evaluations", filters],
    queryFn: async ({ pageParam, signal }) => {
      const query = { ...filters, limit: 100, cursor: pageParam } as never;
      return pageOf<Evaluation>((await api.GET("/v1/evaluations", { params: { query }, signal })).data);
    },
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });

export const evaluationQuery = (id: string) =>
  queryOptions({
    queryKey: ["evaluation", id],
    queryFn: async ({ signal }) =>
      (await api.GET("/v1/evaluations/{evaluation_id}", { params: { path: { evaluation_id: id } }, signal })).data as Evaluation,
    staleTime: Infinity,
  });

export const evaluationFilesQuery = (id: string) =>
  queryOptions({
    queryKey: ["evaluation-files", id],
    queryFn: async ({ signal }) => {
      const params = { path: { evaluation_id: id }, query: { limit: 100 } };
      return pageOf<StoredFile>((await api.GET("/v1/evaluations/{evaluation_id}/files", { params, signal })).data).items;
    },
    // their URLs are good for a while only
    staleTime: 600_000,
  });

/** A case of an evaluation: of classifiers a sample, of segmenters a case and a class of it. */
export interface Case {
  source?: string;
  label?: string;
  predicted?: string;
  probabilities?: number[];
  case?: string;
  class?: string;
  dice?: number | null;
  [distance: string]: unknown;
}

/** A JSON file of the object store. Raises Refused. */
export async function fetched<T>(url: string, what: string, signal: AbortSignal): Promise<T> {
  const answer = await fetch(url, { signal }).catch(() => null);
  if (!answer?.ok) {
    throw new Refused(answer?.status ?? 0, `${what} could not be read`,
      "The object store does not give it to this page. Load the page again; if it stays so, its rules for other origins (CORS) do not let this address in.", null);
  }
  return (await answer.json()) as T;
}

export const casesQuery = (id: string) =>
  queryOptions({
    queryKey: ["cases", id],
    queryFn: async ({ signal, client }): Promise<Case[]> => {
      const files = await client.ensureQueryData(evaluationFilesQuery(id));
      const file = files.find((each) => each.path === "evaluation.json");
      return file ? (await fetched<{ cases?: Case[] }>(file.url, "The cases", signal)).cases ?? [] : [];
    },
    staleTime: Infinity,
    retry: false,
  });

export const comparisonQuery = (ids: readonly string[]) =>
  queryOptions({
    queryKey: ["comparison", ids],
    queryFn: async ({ signal }) =>
      (await api.GET("/v1/evaluations:compare", { params: { query: { id: [...ids] } }, signal })).data as Comparison,
    enabled: ids.length > 1,
    retry: false,
    staleTime: Infinity,
  });

export const aliasesQuery = (project: string | undefined) =>
  queryOptions({
    queryKey: ["aliases", project],
    queryFn: async ({ signal }) => pageOf<Alias>((await api.GET("/v1/aliases", { params: { query: { project, limit: 500 } }, signal })).data).items,
  });

/** Whether an alias may move to a model; not asked without an alias. */
export const gateQuery = (alias: Alias | undefined, model: string) =>
  queryOptions({
    queryKey: ["gate", alias?.id, model, alias?.gate],
    enabled: alias !== undefined && alias.model_id !== model,
    queryFn: async ({ signal }) => {
      const params = { path: { alias: alias?.name ?? "" }, query: { model_id: model, project: alias?.project_id } };
      return (await api.GET("/v1/aliases/{alias}/gate/check", { params, signal })).data as GateCheck;
    },
  });

export const historyQuery = ({ id, name, project_id }: Alias) =>
  infiniteQueryOptions({
    queryKey: ["promotions", id],
    queryFn: async ({ pageParam, signal }) => {
      const params = { path: { alias: name }, query: { limit: 50, project: project_id, cursor: pageParam } };
      return pageOf<Promotion>((await api.GET("/v1/aliases/{alias}/history", { params, signal })).data);
    },
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });

/** A served model of a project, if there is any. */
export const anyServedQuery = (project: string | undefined) =>
  queryOptions({
    queryKey: ["any-served", project],
    queryFn: async ({ signal }) =>
      pageOf<Deployment>((await api.GET("/v1/deployments", { params: { query: { project, state: ["ready"], limit: 1, fields: "id,name,state" } as never }, signal })).data).items,
  });

export const deploymentQuery = (id: string) =>
  queryOptions({
    queryKey: ["deployment", id],
    queryFn: async ({ signal }) =>
      (await api.GET("/v1/deployments/{deployment_id}", { params: { path: { deployment_id: id } }, signal })).data as Deployment,
  });

export const deploymentsQuery = (model: string) =>
  queryOptions({
    queryKey: ["deployments", model],
    queryFn: async ({ signal }) =>
      (await allOf<Deployment>((cursor) => api.GET("/v1/deployments", { params: { query: { model_id: [model], limit: 100, cursor } }, signal }), Infinity)).items,
    refetchInterval: ({ state }) => (state.data?.some((each) => each.state === "loading") ? 3000 : false),
  });
