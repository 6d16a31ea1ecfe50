import { Alert, Card, Group, Progress, Select, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";

import {
  type Answer, type Classified, type Given, infer, nearest, type Nearest, platformQuery, type Served, servedQuery, type Stage,
} from "../api/gateway";
import { type Index, indexesQuery, indexOf, namesOf } from "../api/indexes";
import { Failure } from "../components/Failure";
import { bytes, number } from "../format";
import { Heading } from "../Shell";
import { Classes } from "./try/Classes";
import { Drop } from "./try/Drop";
import { Masks } from "./try/Masks";
import { Neighbours } from "./try/Neighbours";

const NEIGHBOURS = 12;
let answers = 0;

interface Asked {
  /** Tells one answer from all others. */
  id: number;
  given: Given;
  answer: Answer | null;
  nearest: Nearest | null;
}

export default function Try() {
  const search = useSearch({ from: "/try" });
  const { project } = useSearch({ from: "__root__" });
  const platform = useQuery(platformQuery());
  const gateway = platform.data?.gateway_url.replace(/\/$/, "");
  const served = useQuery(servedQuery(gateway));
  const indexes = useQuery(indexesQuery(project));
  const navigate = useNavigate({ from: "/try" });
  const models = served.data?.items ?? [];
  // never another one than was asked for
  const model = search.model ? models.find((each) => each.name === search.model) : models[0];
  const ready = (indexes.data?.items ?? []).filter((each) => each.version > 0);
  const index = indexOf(ready, search.index);
  const set = (change: Partial<typeof search>) => void navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  const failed = [platform, served, indexes].find((each) => each.error && !each.data);
  if (failed) return <><Heading>Try it</Heading><Failure error={failed.error} retry={() => void failed.refetch()} /></>;
  return (
    <>
      <Heading>Try it</Heading>
      {served.isSuccess && models.length === 0 && (
        <Text>No model is served yet. <Link className="link" to="/models">Open a model</Link> and press Serve, or run <code>medcoss deployments create</code>.</Text>
      )}
      {models.length > 0 && gateway && (
        <Stack>
          {!model && <Alert color="orange" variant="light" title={`No model is served as ${search.model}`}>It may still be loading, or has been taken away. Choose another one.</Alert>}
          <Group align="flex-end">
            <Select label="Model" w={420} maw="100%" allowDeselect={false} searchable value={model?.name ?? null} placeholder="choose" onChange={(name) => set({ model: name ?? undefined })}
              data={models.map((each) => ({ value: each.name, label: `${each.name}, version ${each.version}: ${each.task} of ${each.modality}` }))} />
            <Select label="Nearest studies of the index" w={260} clearable value={index?.id ?? null} placeholder="none" disabled={!ready.length}
              clearButtonProps={{ "aria-label": "No index" }} onChange={(name) => set({ index: name ?? undefined })} data={namesOf(ready)} />
            <Link className="link" to="/models" search={{}}>all models</Link>
            {indexes.isSuccess && !ready.length && <Link className="link" to="/map">no index is ready yet</Link>}
          </Group>
          {model && <Asking key={`${model.name} ${index?.id}`} gateway={gateway} model={model} index={index} />}
        </Stack>
      )}
    </>
  );
}

function Asking({ gateway, model, index }: { gateway: string; model: Served; index: Index | undefined }) {
  const [stage, setStage] = useState<Stage | null>(null);
  const stop = useRef<AbortController>(undefined);
  useEffect(() => () => stop.current?.abort(), []);
  const verb = model.task === "classification" ? "classify" : model.task === "segmentation" ? "segment" : "embed";
  const url = `${gateway}/v1/models/${encodeURIComponent(model.name)}/${verb}`;
  const ask = useMutation({
    mutationFn: async (given: Given): Promise<Asked> => {
      stop.current?.abort();
      const { signal } = (stop.current = new AbortController());
      setStage(null);
      const format = verb === "segment" ? "?format=file" : "";
      const answer = await infer(`${url}${format}`, given, signal, setStage);
      return { id: ++answers, given, answer, nearest: index ? await nearest(gateway, index, given, NEIGHBOURS, signal) : null };
    },
  });
  const found = ask.data;
  return (
    <SimpleGrid cols={{ base: 1, lg: found && verb !== "segment" ? 2 : 1 }}>
      <Stack>
        <Drop kind={model.kind} given={(what) => ask.mutate(what)} busy={ask.isPending} />
        {ask.isPending && <Waiting given={ask.variables} stage={stage} />}
        {ask.error && <Failure error={ask.error} retry={() => ask.mutate(ask.variables)} />}
      </Stack>
      {found && !ask.isPending && (
        <Card withBorder component="section" aria-labelledby="answer">
          <Title order={2} size="h4" id="answer" mb="sm">
            {typeof found.given === "string" ? "Answer" : <>{found.given.name} <Text span size="sm" c="dimmed">{bytes(found.given.size)}</Text></>}
          </Title>
          <Found asked={found} model={model} url={url} />
        </Card>
      )}
    </SimpleGrid>
  );
}

function Waiting({ given, stage }: { given: Given; stage: Stage | null }) {
  const name = typeof given === "string" ? "the text" : given.name;
  return (
    <div role="status">
      <Progress value={stage?.total ? (100 * stage.done) / stage.total : 100} animated={!stage?.total} aria-label="progress of the answer" />
      <Text size="sm">{stage ? `${stage.stage}${stage.total ? ` ${number(stage.done)} of ${number(stage.total)}` : ""}` : `sending ${name}`} …</Text>
    </div>
  );
}

function Found({ asked, model, url }: { asked: Asked; model: Served; url: string }) {
  const { id, answer, given } = asked;
  return (
    <Stack>
      {model.task === "classification" && <Classes found={answer?.json as Classified} />}
      {model.task === "segmentation" && answer && typeof given !== "string" && <Masks key={id} result={{ id, file: given, answer }} url={url} model={model} />}
      {model.task === "encoder" && !asked.nearest && (
        <Text size="sm">
          An embedding of {number((answer?.json as { embedding: number[] }).embedding.length)} numbers. Choose an index above to see the studies nearest to it.
        </Text>
      )}
      {asked.nearest && <Neighbours found={asked.nearest} />}
    </Stack>
  );
}
