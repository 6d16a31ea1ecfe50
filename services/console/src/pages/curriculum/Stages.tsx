import { ActionIcon, Button, Card, Collapse, Group, Select, Stack, Text, VisuallyHidden } from "@mantine/core";
import { IconArrowDown, IconArrowUp, IconGripVertical, IconPlus, IconTrash } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useLayoutEffect, useRef, useState } from "react";

import { datasetQuery } from "../../api/queries";
import type { Form } from "../../forms/Field";
import { schemaQuery } from "../../forms/preflight";
import { Reference } from "../../forms/Reference";
import type { Values } from "../../forms/schema";
import { SchemaForm } from "../../forms/SchemaForm";
import { MODALITIES } from "../../router";

export interface Stage {
  /** For the list alone: what stays the same when a stage moves. */
  id: number;
  modality?: string | undefined;
  dataset?: string | undefined;
  prepare?: Values | undefined;
}

let last = 0;
export const newStage = (given: Omit<Stage, "id"> = {}): Stage => ({ ...given, id: ++last });

interface Props {
  stages: readonly Stage[];
  set: (stages: Stage[]) => void;
  errors: ReadonlyMap<string, string>;
}

/** The stages in the order in which they are learnt: moved by buttons, or by dragging their handle. */
export function Stages({ stages, set, errors }: Props) {
  const [said, setSaid] = useState("");
  const [dragged, setDragged] = useState<number | null>(null);
  const refocus = useRef<string>(undefined);
  useLayoutEffect(() => {
    // a button that has moved with its row keeps the focus; at an end the other one takes it
    if (!refocus.current) return;
    const buttons = document.querySelectorAll<HTMLButtonElement>(`[data-stage="${refocus.current.split(" ")[0]}"] [data-move]`);
    const wanted = [...buttons].find((each) => each.dataset.move === refocus.current?.split(" ")[1]);
    (wanted?.disabled ? [...buttons].find((each) => !each.disabled) : wanted)?.focus();
    refocus.current = undefined;
  }, [stages]);
  const move = (from: number, to: number, how?: string) => {
    const next = [...stages];
    const [taken] = next.splice(from, 1);
    if (!taken || to < 0 || to >= stages.length || from === to) return;
    next.splice(to, 0, taken);
    if (how) refocus.current = `${taken.id} ${how}`;
    setSaid(`${taken.modality ?? "the stage"} is now number ${to + 1} of ${stages.length}`);
    set(next);
  };
  return (
    <>
      <VisuallyHidden role="status">{said}</VisuallyHidden>
      <ol className="stages" aria-label="Stages, in the order in which they are learnt">
        {stages.map((stage, index) => (
          <li
            key={stage.id} data-stage={stage.id} data-dragged={dragged === index} aria-label={`Stage ${index + 1}: ${stage.modality ?? "not chosen"}`}
            onDragOver={(event) => dragged !== null && event.preventDefault()}
            onDrop={(event) => {
              event.preventDefault();
              if (dragged !== null) move(dragged, index);
              setDragged(null);
            }}
          >
            <Card withBorder padding="sm">
              <Group wrap="nowrap" align="flex-start" gap="sm">
                <Group gap={2} wrap="nowrap" mt={26}>
                  <span draggable className="handle" title="Drag to another place" onDragStart={() => setDragged(index)} onDragEnd={() => setDragged(null)}>
                    <IconGripVertical size={18} aria-hidden />
                  </span>
                  <Text fw={700} w={18} ta="center" aria-hidden>{index + 1}</Text>
                  <ActionIcon variant="default" data-move="up" disabled={index === 0} aria-label={`Learn stage ${index + 1} earlier`} onClick={() => move(index, index - 1, "up")}><IconArrowUp size={16} /></ActionIcon>
                  <ActionIcon variant="default" data-move="down" disabled={index === stages.length - 1} aria-label={`Learn stage ${index + 1} later`} onClick={() => move(index, index + 1, "down")}><IconArrowDown size={16} /></ActionIcon>
                </Group>
                <Fields stage={stage} index={index} errors={errors} set={(now) => set(stages.map((each) => (each.id === stage.id ? now : each)))} />
                <ActionIcon variant="default" mt={26} aria-label={`Remove stage ${index + 1}`} disabled={stages.length === 1} onClick={() => set(stages.filter((each) => each.id !== stage.id))}>
                  <IconTrash size={16} />
                </ActionIcon>
              </Group>
            </Card>
          </li>
        ))}
      </ol>
      <Button variant="default" size="xs" leftSection={<IconPlus size={14} aria-hidden />} onClick={() => set([...stages, newStage()])}>Add a stage</Button>
    </>
  );
}

interface FieldsProps {
  stage: Stage;
  index: number;
  errors: ReadonlyMap<string, string>;
  set: (stage: Stage) => void;
}

function Fields({ stage, index, errors, set }: FieldsProps) {
  const path = `/stages/${index}`;
  const dataset = useQuery({ ...datasetQuery(stage.dataset ?? ""), enabled: Boolean(stage.dataset) });
  const isRaw = dataset.data?.role === "raw";
  const modality = stage.modality ?? dataset.data?.modality ?? undefined;
  useLayoutEffect(() => {
    // what the dataset says need not be said again
    if (!stage.modality && dataset.data?.modality) set({ ...stage, modality: dataset.data.modality });
  });
  return (
    <Stack gap="xs" style={{ flexGrow: 1, minWidth: 0 }} id={`field${path}`.replaceAll("/", "-")}>
      <Group gap="sm" align="flex-start" wrap="nowrap">
        <div id={`field${path}/modality`.replaceAll("/", "-")}>
          <Select label="Modality" aria-label={`Modality of stage ${index + 1}`} data={[...MODALITIES]} value={modality ?? null} placeholder="choose" w={130} allowDeselect={false}
            error={errors.get(`${path}/modality`)} onChange={(now) => set({ ...stage, modality: now ?? undefined })} />
        </div>
        <div id={`field${path}/dataset`.replaceAll("/", "-")} style={{ flexGrow: 1 }}>
          <Reference label="Dataset" ariaLabel={`Dataset of stage ${index + 1}`} schema={{ reference: "dataset" }} roles={["prepared", "raw"]} required value={stage.dataset}
            error={errors.get(`${path}/dataset`)} set={(now) => set({ ...stage, dataset: now as string | undefined, prepare: undefined })} />
        </div>
      </Group>
      <Collapse expanded={isRaw}>{isRaw && <Prepare stage={stage} path={`${path}/prepare`} errors={errors} set={set} />}</Collapse>
    </Stack>
  );
}

/** How a raw dataset is prepared first: the fields of a preprocess job. */
function Prepare({ stage, path, errors, set }: { stage: Stage; path: string; errors: ReadonlyMap<string, string>; set: (stage: Stage) => void }) {
  const schema = useQuery(schemaQuery("preprocess"));
  if (!schema.data) return null;
  const form: Form = { root: schema.data, errors, effective: null };
  return (
    <>
      <Text size="xs" c="dimmed" mb="xs">It is raw: a step before this one prepares it.</Text>
      <SchemaForm form={form} schema={schema.data} path={path} value={stage.prepare ?? {}} first={["recipe"]} without={["dataset", "output_name"]}
        set={(prepare) => set({ ...stage, prepare: Object.keys(prepare).length ? prepare : undefined })} />
    </>
  );
}
