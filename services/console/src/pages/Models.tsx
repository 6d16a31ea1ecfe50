import { Badge, Group, MultiSelect, Text } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";

import { More } from "../components/More";
import { modelsQuery } from "../api/queries";
import { Failure } from "../components/Failure";
import { ago, bytes, moment, number } from "../format";
import { MODALITIES, type ModelsSearch, TASKS } from "../router";
import { Heading } from "../Shell";
import { Words } from "./Jobs";

export default function Models() {
  const search = useSearch({ from: "/models" });
  const navigate = useNavigate({ from: "/models" });
  const found = useInfiniteQuery(modelsQuery(search));
  const set = (change: Partial<ModelsSearch>) => void navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  const models = found.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <Heading>Models</Heading>
      <Group mb="md" align="flex-end" gap="sm">
        <MultiSelect label="Task" data={[...TASKS]} value={search.task ?? []} w={240} clearable placeholder={search.task ? undefined : "any"}
          onChange={(task) => set({ task: task as ModelsSearch["task"] })} />
        <MultiSelect label="Modality" data={[...MODALITIES]} value={search.modality ?? []} w={240} clearable
          placeholder={search.modality ? undefined : "any"} onChange={(modality) => set({ modality: modality as ModelsSearch["modality"] })} />
        <Words label="Name" hint="begins with" value={search.name} set={(name) => set({ name })} />
      </Group>
      {found.error && <Failure error={found.error} retry={() => void found.refetch()} />}
      {found.isSuccess && models.length === 0 && (
        <Text c="dimmed">No model is like that. A pre-training job makes an encoder, a fine-tuning job a classifier or a segmenter.</Text>
      )}
      {models.length > 0 && (
        <div className="scroll" tabIndex={0} role="region" aria-label="Models">
          <table className="rows">
            <thead>
              <tr>
                <th scope="col">Model</th><th scope="col">Task</th><th scope="col">Has learnt</th><th scope="col">Final numbers</th>
                <th scope="col" className="num">Size</th><th scope="col" className="num">Made</th>
              </tr>
            </thead>
            <tbody>
              {models.map((model) => (
                <tr key={model.id}>
                  <td className="one">
                    <Link className="link" to="/models/$modelId" params={{ modelId: model.id }}>{model.name}</Link>
                    <Text size="xs" c="dimmed">{model.id}</Text>
                  </td>
                  <td>{model.task}, {model.size}</td>
                  <td><Stages modalities={model.modalities} /></td>
                  <td className="one" title={numbers(model.metrics, 50)}>{numbers(model.metrics, 3)}</td>
                  <td className="num">{bytes(model.total_bytes)}</td>
                  <td className="num" title={moment(model.created_at)}>{ago(model.created_at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <More of={found} />
    </>
  );
}

function Stages({ modalities }: { modalities: string[] }) {
  return (
    <Group gap={4}>
      {modalities.map((each, at) => <Badge key={at} variant="default" tt="none" size="sm">{at + 1} {each}</Badge>)}
    </Group>
  );
}

function numbers(metrics: Record<string, number>, most: number): string {
  return Object.entries(metrics).slice(0, most).map(([name, value]) => `${name} ${number(value)}`).join(", ");
}
