import { MultiSelect, Select } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useInfiniteQuery, useQueries, useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { useState } from "react";

import { api, type Dataset, type Model, pageOf } from "../api/client";
import { datasetsQuery, type ModelFilters, modelsQuery } from "../api/queries";
import { ago, number } from "../format";
import type { Schema } from "./schema";

interface Option {
  value: string;
  label: string;
}

type Role = "raw" | "prepared" | "buffer";
type Task = NonNullable<ModelFilters["task"]>[number];
const TASK_WORDS: readonly [string, Task][] = [["encoder", "encoder"], ["classifier", "classification"], ["segmenter", "segmentation"]];

/** Which datasets a field is about; its description says so. */
function rolesOf(description: string): Role[] | undefined {
  const found = (["raw", "prepared", "buffer"] as const).filter((role) => new RegExp(`\\b${role}`, "i").test(description));
  return found.length ? found : undefined;
}

/** Which models a field is about; without a word of that, any. */
function tasksOf(description: string): Task[] | undefined {
  const found = TASK_WORDS.filter(([word]) => new RegExp(`\\b${word}`, "i").test(description)).map(([, task]) => task);
  return found.length ? found : undefined;
}

export function datasetLabel(each: Dataset): string {
  const size = each.samples == null ? `${number(each.file_count)} files` : `${number(each.samples)} samples`;
  return [each.name, each.role, each.modality, size, ago(each.created_at)].filter(Boolean).join(" · ");
}

function modelLabel(each: Model): string {
  const learnt = each.modalities.length ? each.modalities.join(" → ") : null;
  return [each.name, each.task, each.size, learnt, ago(each.created_at)].filter(Boolean).join(" · ");
}

function useDatasets(roles: Role[] | undefined, name: string): Option[] {
  const { project } = useSearch({ from: "__root__" });
  const found = useInfiniteQuery(datasetsQuery({ project, role: roles, name: name || undefined }));
  return (found.data?.pages[0]?.items ?? []).filter((each) => each.state === "ready").map((each) => ({ value: each.id, label: datasetLabel(each) }));
}

function useModels(task: Task[] | undefined, name: string, enabled: boolean): Option[] {
  const { project } = useSearch({ from: "__root__" });
  const models = useInfiniteQuery({ ...modelsQuery({ project, task, name: name || undefined }), enabled });
  const aliases = useQuery({
    queryKey: ["aliases", project], enabled,
    queryFn: async ({ signal }) =>
      pageOf<{ name: string; model_id: string }>((await api.GET("/v1/aliases", { params: { query: { project } }, signal })).data).items,
  });
  return [
    ...(aliases.data ?? []).map((each) => ({ value: `@${each.name}`, label: `@${each.name} · stands for ${each.model_id}` })),
    ...(models.data?.pages[0]?.items ?? []).map((each) => ({ value: each.id, label: modelLabel(each) })),
  ];
}

/** What is chosen already stays among the options, whatever is searched for. */
function useChosen(ids: readonly string[], isDataset: boolean): Option[] {
  const found = useQueries({
    queries: ids.filter((id) => /^(ds|mdl)_/.test(id)).map((id) => ({
      queryKey: ["named", id], staleTime: Infinity, retry: false,
      queryFn: async (): Promise<Option> => {
        if (isDataset) {
          return { value: id, label: datasetLabel((await api.GET("/v1/datasets/{dataset_id}", { params: { path: { dataset_id: id } } })).data as Dataset) };
        }
        return { value: id, label: modelLabel((await api.GET("/v1/models/{model_id}", { params: { path: { model_id: id } } })).data as Model) };
      },
    })),
  });
  return ids.map((id) => found.find((each) => each.data?.value === id)?.data ?? { value: id, label: id });
}

interface Props {
  label: React.ReactNode;
  description?: React.ReactNode;
  schema: Pick<Schema, "reference" | "description">;
  error?: React.ReactNode;
  required?: boolean;
  several?: boolean;
  value: string | readonly string[] | null | undefined;
  set: (value: string | string[] | undefined) => void;
  ariaLabel?: string | undefined;
  roles?: Role[];
}

/** Chooses datasets or models by name; the list is searched on the platform. */
export function Reference({ label, description, schema, error, required = false, several = false, value, set, ariaLabel, roles }: Props) {
  const [typed, setTyped] = useState("");
  const isDataset = schema.reference === "dataset";
  const ids = typeof value === "string" ? [value] : [...(value ?? [])];
  const chosen = useChosen(ids, isDataset);
  // the chosen label stands in the field and is no search
  const [search] = useDebouncedValue(chosen.some((each) => each.label === typed) ? "" : typed, 250);
  const datasets = useDatasets(roles ?? rolesOf(schema.description ?? ""), isDataset ? search : "");
  const models = useModels(tasksOf(schema.description ?? ""), search, !isDataset);
  const data = [...new Map([...(isDataset ? datasets : models), ...chosen].map((each) => [each.value, each])).values()];
  const common = {
    label, description, error, data, searchable: true, searchValue: typed, onSearchChange: setTyped, clearable: true, limit: 100,
    className: "wide", withAsterisk: required, "aria-label": ariaLabel, nothingFoundMessage: `no ${schema.reference} is called so`, maxDropdownHeight: 320,
    // names were searched by the platform
    filter: ({ options }: { options: unknown[] }) => options as never,
    clearButtonProps: { "aria-label": "Clear" },
  };
  if (several) return <MultiSelect {...common} value={ids} placeholder={ids.length ? undefined : "none"} onChange={(now) => set(now.length ? now : undefined)} />;
  return <Select {...common} value={ids[0] ?? null} placeholder={required ? `choose a ${schema.reference}` : "none"} onChange={(now) => set(now ?? undefined)} />;
}
