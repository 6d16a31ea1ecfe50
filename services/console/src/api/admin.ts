import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";

import { api, pageOf } from "./client";
import { PAGE } from "./queries";
import type { components } from "./schema";

type Schemas = components["schemas"];
export type Key = Schemas["KeyOut"];
export type NewKey = Schemas["KeyCreated"];
export type KeyRequest = Schemas["KeyRequest"];
export type Project = Schemas["ProjectOut"];
export type Entry = Schemas["AuditOut"];

export const OUTCOMES = ["done", "denied", "rejected", "failed"] as const;

export const keysQuery = () =>
  infiniteQueryOptions({
    queryKey: ["keys"],
    queryFn: async ({ pageParam, signal }) =>
      pageOf<Key>((await api.GET("/v1/keys", { params: { query: { limit: PAGE, cursor: pageParam } }, signal })).data),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });

export const projectsQuery = () =>
  queryOptions({
    queryKey: ["projects"],
    queryFn: async ({ signal }) => pageOf<Project>((await api.GET("/v1/projects", { params: { query: { limit: 500 } }, signal })).data).items,
  });

export interface AuditFilters {
  actor?: string | undefined;
  outcome?: (typeof OUTCOMES)[number][] | undefined;
  route?: string | undefined;
  since?: string | undefined;
}

export const auditQuery = ({ actor, route, outcome, since }: AuditFilters) =>
  infiniteQueryOptions({
    queryKey: ["audit", actor, route, outcome, since],
    queryFn: async ({ pageParam, signal }) => {
      const query = { limit: PAGE, cursor: pageParam, outcome, since, actor: actor ? [actor] : undefined, route: route ? [route] : undefined };
      return pageOf<Entry>((await api.GET("/v1/audit", { params: { query }, signal })).data);
    },
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });

export type Usage = components["schemas"]["UsageOut"];

export const usageQuery = (project: string | undefined) =>
  queryOptions({
    queryKey: ["usage", project],
    queryFn: async ({ signal }) => (await api.GET("/v1/usage", { params: { query: { project } }, signal })).data as Usage,
    refetchInterval: 30_000,
  });
