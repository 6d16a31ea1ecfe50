import { queryOptions } from "@tanstack/react-query";

import type { Schema } from "../forms/schema";
import { api, pageOf } from "./client";
import type { components } from "./schema";

export type Index = components["schemas"]["IndexOut"];
export type IndexRequest = components["schemas"]["IndexRequest"];

/** Most indexes that are shown. */
export const MOST = 500;

export const isBuilding = ({ state }: Index) => state === "building" || state === "updating";

export const indexesQuery = (project: string | undefined) =>
  queryOptions({
    queryKey: ["indexes", project],
    queryFn: async ({ signal }) => pageOf<Index>((await api.GET("/v1/indexes", { params: { query: { project, limit: MOST } }, signal })).data),
    refetchInterval: ({ state }) => (state.data?.items.some(isBuilding) ? 2000 : false),
  });

/** The one of this name or id; of those of one name in several projects, the newest. */
export const indexOf = (found: readonly Index[], named: string | undefined) =>
  found.find((each) => each.id === named) ?? found.find((each) => each.name === named);

/** Indexes to choose from; those of one name are told apart by their project. */
export const namesOf = (found: readonly Index[]) =>
  found.map(({ id, name, project_id }) => ({ value: id, label: found.some((each) => each.name === name && each.id !== id) ? `${name}, ${project_id}` : name }));

type Field = Exclude<keyof IndexRequest, "project">;

/** The fields of a request for an index; the types hold them against the API. */
const FIELDS = {
  name: { type: "string", description: "what it is called in its project: lower-case letters, digits, - and _" },
  encoder: { type: "string", reference: "model", description: "encoder or classifier, or an alias: then the index is built again when the alias moves" },
  datasets: {
    type: "array", items: { type: "string", reference: "dataset" }, maxItems: 64,
    description: "prepared datasets or rehearsal buffers, of modalities that the encoder has learnt",
  },
  description: { type: "string", default: "", description: "for people" },
  projection: { type: "integer", minimum: 0, maximum: 200_000, default: 20_000, unit: "studies", description: "most studies on the map (UMAP); 0 makes none" },
  level: {
    type: "string", enum: ["study", "sample"] satisfies IndexRequest["level"][], default: "study",
    description: "study: a vector an image, a report or a volume; sample: of volumes one of every tile",
  },
  search: {
    type: "string", enum: ["auto", "exact", "approximate"] satisfies IndexRequest["search"][], default: "auto",
    description: "exact compares with every vector, approximate walks a graph (HNSW); auto is exact up to 100,000 vectors",
  },
  batch_size: { type: "integer", minimum: 1, maximum: 8192, default: 32, unit: "samples", description: "samples that the encoder sees at once" },
} satisfies Record<Field, Schema>;

export const INDEX_SCHEMA: Schema & { required: Field[] } = { properties: FIELDS, required: ["name", "encoder", "datasets"] };

const of = ({ name, project_id }: Index) => ({ path: { index: name }, query: { project: project_id } });

export const rebuildIndex = async (index: Index) => void (await api.POST("/v1/indexes/{index}/rebuild", { params: of(index) }));
export const deleteIndex = async (index: Index) => void (await api.DELETE("/v1/indexes/{index}", { params: of(index) }));
