import { Breadcrumbs, Button, Group, Stack, Tabs, Text } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";

import type { Model as Record } from "../api/client";
import { deploymentsQuery, evaluationsQuery, lineQuery, modelQuery } from "../api/models";
import { meQuery } from "../api/queries";
import { type Fact, Facts } from "../components/Facts";
import { Failure } from "../components/Failure";
import { Gone, isGone, LOOKS_MS } from "../components/Gone";
import { newIndex, newJob } from "../forms/start";
import { ago, bytes, moment, number } from "../format";
import type { ModelSearch } from "../router";
import { Heading } from "../Shell";
import { CardText } from "./model/CardText";
import { Forgetting } from "./model/Forgetting";
import { LineTable } from "./model/LineTable";
import { Origins } from "./model/Origins";
import { Promote } from "./model/Promote";
import { Scores } from "./model/Scores";
import { Serve } from "./model/Serve";

const TABS = [["line", "Line and forgetting"], ["scores", "Evaluations"], ["origins", "Lineage"], ["card", "Card"], ["promote", "Promote"], ["serve", "Serve"]] as const;

export default function Model() {
  const { modelId } = useParams({ from: "/models/$modelId" });
  const { tab = "line" } = useSearch({ from: "/models/$modelId" });
  const navigate = useNavigate({ from: "/models/$modelId" });
  const found = useQuery({ ...modelQuery(modelId), refetchInterval: ({ state }) => (isGone(state.error) ? false : LOOKS_MS) });
  if (found.error && !found.data) return <Failure error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Text c="dimmed">Looking …</Text>;
  const model = found.data;
  if (isGone(found.error)) return <Gone what="model" name={model.name} to="/models" />;
  return (
    <>
      <Breadcrumbs mb="xs"><Link className="link" to="/models">Models</Link><Text size="sm" c="dimmed">{model.id}</Text></Breadcrumbs>
      <Heading aside={<Next model={model} />}>{model.name}</Heading>
      <About model={model} />
      <Tabs value={tab} mt="md" keepMounted={false} onChange={(to) => void navigate({ search: (old) => ({ ...old, tab: to as ModelSearch["tab"] }), replace: true })}>
        <Tabs.List mb="md">{TABS.map(([value, label]) => <Tabs.Tab key={value} value={value}>{label}</Tabs.Tab>)}</Tabs.List>
        <Tabs.Panel value="line"><LineAndReport id={model.id} /></Tabs.Panel>
        <Tabs.Panel value="scores"><Scores model={model} /></Tabs.Panel>
        <Tabs.Panel value="origins"><Origins id={model.id} /></Tabs.Panel>
        <Tabs.Panel value="card"><CardText id={model.id} /></Tabs.Panel>
        <Tabs.Panel value="promote"><Promote model={model} /></Tabs.Panel>
        <Tabs.Panel value="serve"><Serve model={model} /></Tabs.Panel>
      </Tabs>
    </>
  );
}

/** What is usually done with it next. */
function Next({ model }: { model: Record }) {
  const me = useQuery(meQuery());
  const served = useQuery(deploymentsQuery(model.id));
  if (!me.data || me.data.role === "viewer" || !served.data) return null;
  const ready = served.data.find((each) => each.state === "ready" && each.active);
  return (
    <Group gap="xs">
      {model.task === "encoder" && <Button component={Link} {...newJob(me.data, model.project_id, "finetune", { init_model: model.id })} variant={ready ? "default" : "filled"}>Fine-tune from it</Button>}
      {model.task === "encoder" && <Button component={Link} {...newIndex(me.data, model.project_id, model.id)} variant="default">Make an index</Button>}
      {ready && <Button component={Link} to="/try" search={{ model: ready.name } as never}>Try it</Button>}
      {!ready && <Button component={Link} to="." search={{ tab: "serve" } as never} variant={model.task === "encoder" ? "default" : "filled"}>Serve it</Button>}
    </Group>
  );
}

function About({ model }: { model: Record }) {
  const facts: Fact[] = [
    ["task", `${model.task}, ${model.size}`],
    ["has learnt", model.modalities.join(" → ") || "–"],
    ["input", `${model.modality}, ${model.sample_shape.join(" × ")}`],
  ];
  if (model.classes) facts.push(["classes", model.classes.join(", ")]);
  for (const [name, value] of Object.entries(model.metrics).slice(0, 6)) facts.push([name, number(value)]);
  facts.push(["size", bytes(model.total_bytes)], ["made", <span key="at" title={moment(model.created_at)}>{ago(model.created_at)}</span>]);
  if (model.job_id) facts.push(["by", <Link key="job" className="link" to="/jobs/$id" params={{ id: model.job_id }}>its job</Link>]);
  if (model.tags.length) facts.push(["tags", model.tags.join(", ")]);
  if (model.notes) facts.push(["notes", model.notes]);
  return <Facts facts={facts} />;
}

function LineAndReport({ id }: { id: string }) {
  const line = useQuery(lineQuery(id));
  const report = line.data?.stages.at(-1)?.report_id;
  // of a model that is fine-tuned, too: the report of its encoder
  const own = useInfiniteQuery({ ...evaluationsQuery({ model: [id], task: ["forgetting"] }), enabled: line.isSuccess && !report });
  const shown = report ?? own.data?.pages[0]?.items[0]?.id;
  if (line.error) return <Failure error={line.error} />;
  if (!line.data) return <Text c="dimmed">Looking …</Text>;
  return (
    <Stack>
      <LineTable line={line.data} id={id} />
      {shown ? <Forgetting id={shown} /> : line.data.stages.length > 0 && (
        <Text size="sm" c="dimmed">There is no forgetting report of this line. A job of the kind forgetting measures what is left of each modality.</Text>
      )}
    </Stack>
  );
}
