import "../forms/forms.css";

import { Breadcrumbs, Button, Card, Grid, Group, Select, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { useDebouncedCallback, useDebouncedValue } from "@mantine/hooks";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState } from "react";

import { api, type Job, requestKey } from "../api/client";
import { jobQueryOf, kindsQuery, meQuery } from "../api/queries";
import { Failure } from "../components/Failure";
import { MayNot } from "../components/MayNot";
import type { Form } from "../forms/Field";
import { jobLines, Lines } from "../forms/Lines";
import { type JobBody, messages, preflightQuery, schemaQuery } from "../forms/preflight";
import { isObject, parsed } from "../forms/parsed";
import { PreflightPanel } from "../forms/PreflightPanel";
import { type Run, RunFields } from "../forms/RunFields";
import { givenOf, type Schema, type Values } from "../forms/schema";
import { SchemaForm } from "../forms/SchemaForm";
import { Heading } from "../Shell";

/** What people change most; of a kind's schema those that it has are shown at once, in this order. */
const FIRST = [
  "preset", "dataset", "datasets", "model", "models", "init_model", "rehearsal", "task", "size", "modality", "split", "epochs", "batch_size", "base_lr",
  "lr", "output_name",
];

/** What the form holds, as the address has it. */
interface Draft {
  spec: Values;
  run: Run;
}

function read(text: string | undefined): Draft | null {
  const found = parsed(text);
  if (!found) return null;
  const { spec, ...run } = found;
  return { spec: isObject(spec) ? spec : {}, run: run as Run };
}

/** A job as a draft: what it was asked for beyond the defaults. */
function draftOf(job: Job, schema: Schema): Draft {
  const { name, notes, tags, priority, resources, time_limit_s } = job;
  const run = {
    name: name === job.kind ? undefined : name, notes: notes || undefined, tags: tags.length ? tags : undefined, priority: priority || undefined,
    resources: resources.nodes == null && resources.gpus == null && resources.memory_bytes == null ? undefined : resources, time_limit_s: time_limit_s ?? undefined,
  };
  return { spec: givenOf(job.spec, schema), run };
}

export default function NewJob() {
  const search = useSearch({ from: "/jobs/new" });
  const { project } = search;
  const navigate = useNavigate({ from: "/jobs/new" });
  const kinds = useQuery(kindsQuery());
  const me = useQuery(meQuery());
  const from = useQuery({ ...jobQueryOf(search.from ?? ""), enabled: Boolean(search.from) });
  const kind = search.kind ?? from.data?.kind;
  const schema = useQuery(schemaQuery(kind));
  const about = kinds.data?.items.find((each) => each.name === kind);
  const isReady = schema.data && (!search.from || from.data);
  return (
    <>
      <Breadcrumbs mb="xs"><Link className="link" to="/jobs">Jobs</Link><Text size="sm" c="dimmed">new</Text></Breadcrumbs>
      <Heading>New job</Heading>
      {me.data?.role === "viewer" && (
        <MayNot what="submit a job"> Nor is looked over here what it would take; the lines can be given to an operator.</MayNot>
      )}
      <Group mb="md" align="flex-end">
        <Select
          label="What to do" data={(kinds.data?.items ?? []).map((each) => each.name)} value={kind ?? null} searchable placeholder="choose" w={280} allowDeselect={false}
          renderOption={({ option }) => (
            <div>
              <Text size="sm">{option.value}</Text>
              <Text size="xs" c="dimmed">{kinds.data?.items.find((each) => each.name === option.value)?.description}</Text>
            </div>
          )}
          comboboxProps={{ width: 420, position: "bottom-start" }} maxDropdownHeight={420}
          onChange={(to) => void navigate({ search: ({ project }) => ({ project, kind: to ?? undefined }), replace: true })}
        />
        <Text size="sm" c="dimmed" maw={560} mb={8}>{about?.description ?? "For the stages of continual pre-training at once, make a curriculum."}</Text>
        <Button component={Link} to="/curricula/new" variant="default" ml="auto">New curriculum</Button>
      </Group>
      {!kind && (
        <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }} component="section" aria-label="Kinds of jobs">
          {(kinds.data?.items ?? []).map((each) => (
            <Card key={each.name} withBorder padding="sm" component={Link} to="/jobs/new" search={{ ...(project ? { project } : {}), kind: each.name } as never} className="choice">
              <Text size="sm" fw={600}>{each.name}</Text>
              <Text size="sm" c="dimmed">{each.description}</Text>
            </Card>
          ))}
        </SimpleGrid>
      )}
      {schema.error && <Failure error={schema.error} />}
      {from.error && <Failure error={from.error} />}
      {isReady && kind && schema.data && (
        <Filled key={`${kind} ${search.from ?? ""}`} mayAsk={me.data !== undefined && me.data.role !== "viewer"} kind={kind} schema={schema.data} origin={search.from && from.data ? from.data : null} />
      )}
    </>
  );
}

function useDraft(origin: Job | null, schema: Schema) {
  const search = useSearch({ from: "/jobs/new" });
  const navigate = useNavigate({ from: "/jobs/new" });
  const [draft, setDraft] = useState<Draft>(() => read(search.form) ?? (origin ? draftOf(origin, schema) : { spec: {}, run: {} }));
  // the address holds the form: a reload, or a colleague, finds it as it is
  const write = useDebouncedCallback((now: Draft) => {
    const form = JSON.stringify({ spec: now.spec, ...now.run });
    void navigate({ search: (old) => ({ ...old, form }), replace: true, resetScroll: false });
  }, 400);
  const change = (now: Draft) => {
    setDraft(now);
    write(now);
  };
  return [draft, change] as const;
}

interface FilledProps {
  kind: string;
  schema: Schema;
  origin: Job | null;
  /** Whether the key may submit, and have a job looked over. */
  mayAsk: boolean;
}

function Filled({ kind, schema, origin, mayAsk }: FilledProps) {
  const { project } = useSearch({ from: "/jobs/new" });
  const navigate = useNavigate();
  const [{ spec, run }, change] = useDraft(origin, schema);
  const [isTried, setTried] = useState(false);
  const body: JobBody = useMemo(() => JSON.parse(JSON.stringify({ kind, spec, project: project ?? origin?.project_id, ...run })), [kind, spec, run, project, origin]);
  const [asked] = useDebouncedValue(body, 350);
  const preflight = useQuery(preflightQuery(mayAsk ? asked : null));
  const isBehind = asked !== body || preflight.isFetching;
  const errors = useMemo(() => shownErrors(preflight.data?.errors ?? [], spec, isTried), [preflight.data, spec, isTried]);
  const form: Form = { root: schema, errors: errors.spec, effective: preflight.data?.spec ?? null };
  const key = useRef<[string, string]>(undefined);
  const submit = useMutation({
    mutationFn: async (): Promise<Job> => {
      // a second click sends the same request, a changed form another one
      const text = JSON.stringify(body);
      if (key.current?.[0] !== text) key.current = [text, requestKey()];
      return (await api.POST("/v1/jobs", { body: body as never, params: { header: { "Idempotency-Key": key.current[1] } } })).data as Job;
    },
    onSuccess: (made) => void navigate({ to: "/jobs/$id", params: { id: made.id }, search: {} }),
  });
  useEffect(() => {
    if (isTried) document.querySelector<HTMLElement>("form [aria-invalid=true]")?.focus();
  }, [isTried]);
  return (
    <form onSubmit={(event) => {
      event.preventDefault();
      if (!mayAsk) return;
      if (preflight.data?.valid || isBehind) submit.mutate();
      else setTried(true);
    }}>
      <Grid gap="lg">
        <Grid.Col span={{ base: 12, lg: 7 }}>
          <Stack>
            {origin && <Text size="sm">Filled with the parameters of <Link className="link" to="/jobs/$id" params={{ id: origin.id }}>{origin.name}</Link>.</Text>}
            <Card withBorder component="section" aria-labelledby="parameters">
              <Title order={2} size="h4" id="parameters" mb="sm">Parameters</Title>
              <SchemaForm form={form} schema={schema} value={spec} first={FIRST} set={(now) => change({ spec: now, run })} />
            </Card>
            <Card withBorder component="section" aria-labelledby="run">
              <Title order={2} size="h4" id="run" mb="sm">Name, and how it runs</Title>
              <RunFields kind={kind} run={run} errors={errors.request} set={(now) => change({ spec, run: now })} />
            </Card>
          </Stack>
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 5 }}>
          <Stack className="beside">
            {mayAsk && <Button type="submit" size="md" loading={submit.isPending}>Submit</Button>}
            {submit.error && <Failure error={submit.error} />}
            {mayAsk && <PreflightPanel seen={preflight.data} error={preflight.error} isBehind={isBehind} />}
            <Lines lines={jobLines(body)} />
          </Stack>
        </Grid.Col>
      </Grid>
    </form>
  );
}

/** What is wrong at its field; what has just not been given yet is no mistake before it is submitted. */
function shownErrors(problems: readonly { pointer: string; detail: string }[], spec: Values, isTried: boolean) {
  const shown = problems.filter((each) => isTried || each.detail !== "Field required");
  return { spec: messages(shown, spec, "/spec"), request: messages(shown, {}, "") };
}
