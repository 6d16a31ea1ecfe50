import "../forms/forms.css";

import { Breadcrumbs, Button, Card, Checkbox, Grid, Group, Select, Stack, Text, TextInput, Title } from "@mantine/core";
import { useDebouncedCallback, useDebouncedValue } from "@mantine/hooks";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useRef, useState } from "react";

import { api, requestKey } from "../api/client";
import { meQuery } from "../api/queries";
import { Failure } from "../components/Failure";
import { MayNot } from "../components/MayNot";
import type { Form } from "../forms/Field";
import { curriculumLines, Lines } from "../forms/Lines";
import { isObject, parsed } from "../forms/parsed";
import { messages, type PipelineBody, type PipelinePreflight, pipelinePreflightQuery, schemaQuery } from "../forms/preflight";
import { Reference } from "../forms/Reference";
import type { Values } from "../forms/schema";
import { SchemaForm } from "../forms/SchemaForm";
import { Heading } from "../Shell";
import { Plan } from "./curriculum/Plan";
import { newStage, type Stage, Stages } from "./curriculum/Stages";

// of MedCoSS (CVPR 2024); the platform refuses the preset with another order
const PUBLISHED = ["report", "xray", "ct", "mr", "pathology"];
const INPUTS = ["dataset", "init_model", "rehearsal", "joint", "vocabulary", "measured_on", "output_name", "model"];
const TRAINING = ["size", "epochs", "batch_size", "base_lr", "mask_ratio", "warmup_epochs"];
const BUFFER = ["buffer_fraction", "centers_fraction"];
const REHEARSALS = [
  { value: "buffers", label: "buffers: each stage rehearses all before it" },
  { value: "none", label: "none: nothing is rehearsed" },
  { value: "joint", label: "joint: one stage learns all modalities at once" },
];

interface Draft {
  name?: string | undefined;
  preset?: "published" | undefined;
  rehearsal?: string | undefined;
  init_model?: string | undefined;
  forgetting?: Values | undefined;
  stages: Stage[];
  training: Values;
  buffer: Values;
}

function read(text: string | undefined): Draft {
  const empty: Draft = { stages: [newStage(), newStage()], training: {}, buffer: {} };
  const { stages, training, buffer, ...rest } = parsed(text) ?? {};
  return {
    ...empty, ...rest, ...(isObject(training) ? { training } : {}), ...(isObject(buffer) ? { buffer } : {}),
    ...(Array.isArray(stages) ? { stages: stages.filter(isObject).map((each) => newStage(each)) } : {}),
  };
}

function bodyOf({ name, stages, training, buffer, ...rest }: Draft, project: string | undefined): PipelineBody {
  const given = (values: Values) => (Object.keys(values).length ? values : undefined);
  const curriculum = { stages: stages.map(({ id: _, ...each }) => each), training: given(training), buffer: given(buffer), ...rest };
  return JSON.parse(JSON.stringify({ name, project, curriculum })) as PipelineBody;
}

export default function NewCurriculum() {
  const training = useQuery(schemaQuery("pretrain"));
  const buffer = useQuery(schemaQuery("build_buffer"));
  const me = useQuery(meQuery());
  const mayAsk = me.data !== undefined && me.data.role !== "viewer";
  const { project, form } = useSearch({ from: "/curricula/new" });
  const navigate = useNavigate({ from: "/curricula/new" });
  const [draft, setDraft] = useState(() => read(form));
  const write = useDebouncedCallback((now: Draft) => {
    const { stages, ...rest } = now;
    const written = JSON.stringify({ ...rest, stages: stages.map(({ id: _, ...each }) => each) });
    void navigate({ search: (old) => ({ ...old, form: written }), replace: true, resetScroll: false });
  }, 400);
  const change = (field: Partial<Draft>) => {
    const now = { ...draft, ...field };
    setDraft(now);
    write(now);
  };
  const body = useMemo(() => bodyOf(draft, project), [draft, project]);
  const [asked] = useDebouncedValue(body, 350);
  const isComplete = draft.stages.every((each) => each.dataset && each.modality);
  const preflight = useQuery(pipelinePreflightQuery(isComplete && mayAsk ? asked : null));
  const isBehind = isComplete && (asked !== body || preflight.isFetching);
  const seen = isComplete ? preflight.data : undefined;
  const errors = messages(seen?.errors ?? [], body.curriculum, "/curriculum");
  const form_ = (schema: Form["root"], effective: Values): Form => ({ root: schema, errors, effective });
  return (
    <>
      <Breadcrumbs mb="xs"><Link className="link" to="/pipelines">Pipelines</Link><Text size="sm" c="dimmed">new curriculum</Text></Breadcrumbs>
      <Heading>New curriculum</Heading>
      {me.data?.role === "viewer" && <MayNot what="start a curriculum"> Nor is its plan made here; the lines can be given to an operator.</MayNot>}
      <Grid gap="lg">
        <Grid.Col span={{ base: 12, lg: 7 }}>
          <Stack>
            <Card withBorder component="section" aria-labelledby="stages">
              <Group justify="space-between" mb={4}>
                <Title order={2} size="h4" id="stages">What is learnt, in this order</Title>
                <Published draft={draft} change={change} />
              </Group>
              <Text size="sm" c="dimmed" mb="sm">
                One encoder learns stage after stage. Of each stage a buffer is kept, which the later ones rehearse, so that it is not forgotten.
              </Text>
              <Stages stages={draft.stages} errors={errors} set={(stages) => change({ stages, ...(draft.preset && !isPublished(stages) ? { preset: undefined } : {}) })} />
            </Card>
            <Card withBorder component="section" aria-labelledby="training">
              <Title order={2} size="h4" id="training" mb="sm">How every stage trains</Title>
              {training.data && (
                <SchemaForm form={form_(training.data, { training: specOf(seen, "pretrain") })} schema={training.data} path="/training" value={draft.training} first={TRAINING}
                  without={INPUTS} set={(now) => change({ training: now })} />
              )}
            </Card>
            <Card withBorder component="section" aria-labelledby="rehearsal">
              <Title order={2} size="h4" id="rehearsal" mb="sm">What is kept of each stage, and measured</Title>
              <Stack gap="md">
                <Select label="Rehearsal" data={REHEARSALS} value={draft.rehearsal ?? "buffers"} allowDeselect={false}
                  onChange={(now) => change({ rehearsal: now === "buffers" ? undefined : (now ?? undefined) })} />
                {(draft.rehearsal ?? "buffers") === "buffers" && buffer.data && (
                  <SchemaForm form={form_(buffer.data, { buffer: specOf(seen, "build_buffer") })} schema={buffer.data} path="/buffer" value={draft.buffer} first={BUFFER}
                    without={INPUTS} set={(now) => change({ buffer: now })} />
                )}
                <Checkbox label="Measure forgetting after every stage" description="on held-out data of all modalities so far, what is left of the earlier ones" checked={Boolean(draft.forgetting)}
                  onChange={(event) => change({ forgetting: event.currentTarget.checked ? {} : undefined })} />
                <Reference label="Go on from" description="an encoder that has learnt something already; none: from scratch" schema={{ reference: "model" }} value={draft.init_model}
                  error={errors.get("/init_model")} set={(now) => change({ init_model: now as string | undefined })} />
              </Stack>
            </Card>
          </Stack>
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 5 }}>
          <Stack className="beside">
            <TextInput label="Name" placeholder="curriculum" value={draft.name ?? ""} maxLength={128} onChange={(event) => change({ name: event.currentTarget.value || undefined })} />
            {mayAsk && <Start body={body} isReady={Boolean(seen?.valid)} />}
            {mayAsk && <Plan seen={seen} error={isComplete ? preflight.error : null} isBehind={isBehind} />}
            <Lines lines={curriculumLines(body)} />
          </Stack>
        </Grid.Col>
      </Grid>
    </>
  );
}

const isPublished = (stages: readonly Stage[]) => stages.map((each) => each.modality ?? "").join() === PUBLISHED.join();

/** The published order and settings; datasets that are chosen stay with their modality. */
function Published({ draft, change }: { draft: Draft; change: (field: Partial<Draft>) => void }) {
  const fill = () => {
    const stages = PUBLISHED.map((modality) => draft.stages.find((each) => each.modality === modality) ?? newStage({ modality }));
    change({ stages, preset: "published" });
  };
  return (
    <Checkbox label="as published" title="the five stages of MedCoSS (CVPR 2024) with their settings; fields that you change win over them" checked={draft.preset === "published"}
      onChange={(event) => (event.currentTarget.checked ? fill() : change({ preset: undefined }))} />
  );
}

/** The fields of the first step of a kind, with presets and defaults filled in. */
function specOf(seen: PipelinePreflight | undefined, kind: string): Values {
  return Object.values(seen?.steps ?? {}).find((step) => step.kind === kind)?.spec ?? {};
}

function Start({ body, isReady }: { body: PipelineBody; isReady: boolean }) {
  const navigate = useNavigate();
  const key = useRef<[string, string]>(undefined);
  const start = useMutation({
    mutationFn: async () => {
      const text = JSON.stringify(body);
      if (key.current?.[0] !== text) key.current = [text, requestKey()];
      return (await api.POST("/v1/pipelines", { body: body as never, params: { header: { "Idempotency-Key": key.current[1] } } })).data as { id: string };
    },
    onSuccess: (made) => void navigate({ to: "/pipelines/$pipelineId", params: { pipelineId: made.id }, search: {} }),
  });
  return (
    <>
      {start.error && <Failure error={start.error} />}
      <Button size="md" loading={start.isPending} disabled={!isReady} onClick={() => start.mutate()}>Start</Button>
      {!isReady && <Text size="xs" c="dimmed">It can be started when every stage has a dataset and nothing is to be mended.</Text>}
    </>
  );
}
