import "../forms/forms.css";

import { Alert, Breadcrumbs, Button, Card, Grid, Select, Stack, Text, Title } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useState } from "react";

import { api, Refused } from "../api/client";
import { type Index, INDEX_SCHEMA, type IndexRequest } from "../api/indexes";
import { deploymentsQuery } from "../api/models";
import { datasetsQuery, meQuery, modelsQuery } from "../api/queries";
import { Failure } from "../components/Failure";
import { MayNot } from "../components/MayNot";
import { indexLines, Lines } from "../forms/Lines";
import { messages } from "../forms/preflight";
import type { Values } from "../forms/schema";
import { parsed } from "../forms/parsed";
import { SchemaForm } from "../forms/SchemaForm";
import { Heading } from "../Shell";

const NUMBERS = ["projection", "batch_size"];
const FIRST = ["name", "encoder", "datasets", "description", "projection"];

/** What the address holds, without what an index does not take. */
function read(text: string | undefined): Values {
  const given = parsed(text);
  const fits = (name: string, value: unknown) =>
    name === "datasets" ? Array.isArray(value) && value.every((each) => typeof each === "string") : typeof value === (NUMBERS.includes(name) ? "number" : "string");
  return Object.fromEntries(Object.entries(given ?? {}).filter(([name, value]) => fits(name, value)));
}

export default function NewIndex() {
  const me = useQuery(meQuery());
  return (
    <>
      <Breadcrumbs mb="xs"><Link className="link" to="/map">Map</Link><Text size="sm" c="dimmed">new index</Text></Breadcrumbs>
      <Heading>New index</Heading>
      <Text size="sm" c="dimmed" mb="md" maw={760}>
        An encoder embeds every study of the datasets. The index finds the studies that are nearest to a file or a text, and draws them all as a map.
      </Text>
      {me.data?.role === "viewer" && (
        <MayNot what="make an index" />
      )}
      {me.data && me.data.role !== "viewer" && <Form projects={me.data.projects.map((each) => each.name)} />}
    </>
  );
}

function Form({ projects }: { projects: readonly string[] }) {
  const { project, form } = useSearch({ from: "/map/new" });
  const navigate = useNavigate();
  const queries = useQueryClient();
  const [given, setGiven] = useState(() => read(form));
  const [isTried, setTried] = useState(false);
  const write = useDebouncedCallback((now: Values) => {
    void navigate({ to: ".", search: (old) => ({ ...old, form: JSON.stringify(now) }), replace: true, resetScroll: false });
  }, 400);
  const body = { ...given, ...(project ? { project } : {}) } as unknown as IndexRequest;
  const make = useMutation({
    mutationFn: async () => (await api.POST("/v1/indexes", { body })).data as Index,
    onSuccess: async (made) => {
      await queries.invalidateQueries({ queryKey: ["indexes"] });
      void navigate({ to: "/map", search: { index: made.id } });
    },
  });
  const change = (now: Values) => {
    setGiven(now);
    write(now);
    make.reset();
  };
  const missing = INDEX_SCHEMA.required.filter((name) => !given[name]);
  const errors = wrong(make.error, given, isTried ? missing : []);
  const others = make.error && !(make.error instanceof Refused && errors.size) ? make.error : null;
  useEffect(() => {
    document.querySelector<HTMLElement>("form [aria-invalid=true]")?.focus();
  }, [isTried, make.error]);
  return (
    <form aria-label="New index" onSubmit={(event) => {
      event.preventDefault();
      setTried(true);
      if (!missing.length) make.mutate();
    }}>
      <Grid gap="lg">
        <Grid.Col span={{ base: 12, lg: 7 }}>
          <Card withBorder component="section" aria-labelledby="parameters">
            <Title order={2} size="h4" id="parameters" mb="sm">Parameters</Title>
            {projects.length > 1 && (
              <Select label="Project" description="who owns the index, and whose encoders and datasets are offered; none: default" mb="sm" w={320} data={[...projects]} value={project ?? null} placeholder="choose" clearable
                clearButtonProps={{ "aria-label": "All projects" }} error={errors.get("/project")}
                onChange={(to) => void navigate({ to: ".", search: (old) => ({ ...old, project: to ?? undefined }), replace: true })} />
            )}
            <SchemaForm form={{ root: INDEX_SCHEMA, errors, effective: null }} schema={INDEX_SCHEMA} value={given} first={FIRST} without={["project"]} set={change} />
          </Card>
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 5 }}>
          <Stack className="beside">
            <Button type="submit" size="md" loading={make.isPending}>Build the index</Button>
            {others && <Failure error={others} />}
            {isTried && missing.length > 0 && <Text size="sm" role="alert">Still needed: {missing.join(", ")}.</Text>}
            <First project={project} />
            <Files encoder={given.encoder as string | undefined} />
            <Lines lines={indexLines(body)} />
          </Stack>
        </Grid.Col>
      </Grid>
    </form>
  );
}

/** What is wrong, by its field: what the platform has refused, and what it needs. */
function wrong(error: unknown, given: Values, missing: readonly string[]): Map<string, string> {
  const found = error instanceof Refused ? messages(error.fields, given, "") : new Map<string, string>();
  if (error instanceof Refused && error.status === 409) found.set("/name", error.message);
  for (const name of missing) found.set(`/${name}`, "needed");
  return found;
}

/** What has to be there before an index can be made. */
function First({ project }: { project: string | undefined }) {
  const models = useInfiniteQuery(modelsQuery({ project, task: ["encoder", "classification"] }, 1));
  const prepared = useInfiniteQuery(datasetsQuery({ project, role: ["prepared", "buffer"] }, 1));
  const none = (found: { pages: { items: unknown[] }[] } | undefined) => found?.pages[0]?.items.length === 0;
  if (!none(models.data) && !none(prepared.data)) return null;
  return (
    <Alert color="orange" variant="light" title="Something has to be there first">
      <Stack gap={4}>
        {none(prepared.data) && <Text size="sm">There is no prepared dataset. <Link className="link" to="/datasets">Open a raw dataset</Link> and prepare it.</Text>}
        {none(models.data) && (
          <Text size="sm">There is no encoder and no classifier. <Link className="link" to="/jobs/new" search={{ kind: "pretrain" }}>Pre-train an encoder</Link> on a prepared dataset.</Text>
        )}
      </Stack>
    </Alert>
  );
}

/** Whether files can be searched for with an encoder, which has to be served for that. */
function Files({ encoder }: { encoder: string | undefined }) {
  const served = useQuery({ ...deploymentsQuery(encoder ?? ""), enabled: encoder?.startsWith("mdl_") ?? false });
  if (!encoder || !served.data || served.data.some((each) => each.state === "ready")) return null;
  return (
    <Alert color="blue" variant="light" title="This encoder is not served">
      <Text size="sm">
        The map needs no served encoder. To find the studies nearest to a new file or text,{" "}
        <Link className="link" to="/models/$modelId" params={{ modelId: encoder }} search={{ tab: "serve" }}>serve it</Link>, before the index or after.
      </Text>
    </Alert>
  );
}
