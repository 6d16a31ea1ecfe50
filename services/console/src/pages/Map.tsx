import { Alert, Button, Card, Group, Select, SimpleGrid, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { type Index, indexesQuery, indexOf, isBuilding, namesOf } from "../api/indexes";
import { deploymentsQuery } from "../api/models";
import { meQuery } from "../api/queries";
import { HomeLink, Study } from "../components/Study";
import { Failure } from "../components/Failure";
import { number } from "../format";
import { COLUMNS, type MapSearch } from "../router";
import { Heading } from "../Shell";
import { Legend } from "../plots/Legend";
import { Building, Indexes, Trouble } from "./map/Indexes";
import { type Column, grouped, NAMED, type Points, pointsQuery, wordsOf } from "./map/points";
import { Scatter } from "./map/Scatter";

const LISTED = 200;

export default function EmbeddingMap() {
  const { project } = useSearch({ from: "__root__" });
  const search = useSearch({ from: "/map" });
  const navigate = useNavigate({ from: "/map" });
  const found = useQuery(indexesQuery(project));
  const indexes = found.data?.items ?? [];
  const index = search.index ? indexOf(indexes, search.index) : (indexes.find((each) => each.version > 0) ?? indexes[0]);
  const points = useQuery(pointsQuery(index));
  const by = search.by ?? "label";
  const set = (change: Partial<MapSearch>) => void navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  return (
    <>
      <Heading>Map of studies</Heading>
      {found.error && <Failure error={found.error} retry={() => void found.refetch()} />}
      {found.isSuccess && indexes.length === 0 && <Nothing />}
      {found.isSuccess && indexes.length > 0 && !index && (
        <Alert color="orange" variant="light" mb="md" title={`There is no index ${search.index ?? ""}`}>It has been deleted, or is of another project. Choose another one below.</Alert>
      )}
      {index && (
        <Group mb="md" align="flex-end">
          <Select label="Index" w={260} allowDeselect={false} searchable value={index.id} data={namesOf(indexes)} onChange={(to) => set({ index: to ?? undefined })} />
          {index.version > 0 && (
            <>
              <Select label="Coloured by" w={180} allowDeselect={false} value={by} data={COLUMNS.map((each) => ({ value: each, label: wordsOf(each) }))} onChange={(to) => set({ by: to as Column })} />
              <Text size="sm" c="dimmed" mb={8}>{number(index.vectors)} {index.level === "sample" ? "samples" : "studies"}, version {index.version}, encoder {index.encoder}</Text>
              <Nearest index={index} />
            </>
          )}
        </Group>
      )}
      {index && <Trouble index={index} />}
      {index && index.version === 0 && isBuilding(index) && (
        <Card withBorder component="section" aria-label="Being built" mb="md">
          <Text size="sm" mb="xs" role="status">{index.name} is being built: its studies are embedded, and drawn here once all are. This page goes on by itself.</Text>
          <Building index={index} wide />
        </Card>
      )}
      {points.error && <Failure error={points.error} />}
      {points.data && <Drawn key={`${index?.id} ${by}`} points={points.data} by={by} />}
      {indexes.length > 0 && <Indexes indexes={indexes} isCut={found.data?.next != null} />}
    </>
  );
}

/** Where the studies nearest to a file are found; what is missing where they cannot be. */
function Nearest({ index }: { index: Index }) {
  const model = index.model_id ?? "";
  const served = useQuery({ ...deploymentsQuery(model), enabled: Boolean(model) });
  if (!served.data || served.data.some((each) => each.state === "ready")) {
    return <Text size="sm" mb={8}><Link className="link" to="/try" search={{ index: index.id }}>find the nearest to a file</Link></Text>;
  }
  return (
    <Text size="sm" mb={8}>
      To find the nearest to a file, <Link className="link" to="/models/$modelId" params={{ modelId: model }} search={{ tab: "serve" }}>serve its encoder</Link>.
    </Text>
  );
}

/** The way to the first index. */
function Nothing() {
  const me = useQuery(meQuery());
  return (
    <Stack align="flex-start">
      <Text>There is no index yet. An index holds every study of some datasets as one encoder sees it: the map draws them, and those nearest to a file are found.</Text>
      {me.data?.role === "viewer" ? <Text size="sm" c="dimmed">To make one needs the key of an operator.</Text> : <Button component={Link} to="/map/new">New index</Button>}
    </Stack>
  );
}

function Drawn({ points, by }: { points: Points; by: Column }) {
  const found = useMemo(() => grouped(points, by), [points, by]);
  const values = found.groups;
  const [value, setValue] = useState<string | null>(null);
  const [chosen, setChosen] = useState<number[] | null>(null);
  const shown = useMemo(() => {
    const all = chosen ?? points.x.map((_, at) => at);
    return value == null ? all : all.filter((at) => found.of[at] === value);
  }, [chosen, value, points, found]);
  const narrowed = chosen !== null || value !== null;
  const set = useMemo(() => (narrowed ? new Set(shown) : null), [narrowed, shown]);
  return (
    <SimpleGrid cols={{ base: 1, lg: 2 }}>
      <Card withBorder padding="sm" component="section" aria-label="Map">
        <Scatter points={points} by={by} grouped={found} shown={set} lassoed={setChosen} />
        <Legend names={values.slice(0, NAMED).map(([name, count]) => `${name || "none"} (${count.toLocaleString("en-GB")})`)} color={found.color} />
        {by === "made" && <Text size="xs" c="dimmed">Days on which the datasets of the studies were made, in UTC.</Text>}
        {values.length > NAMED && <Text size="xs" c="dimmed">{values.length - NAMED} others are grey.</Text>}
      </Card>
      <Stack gap="sm">
        <Group align="flex-end">
          <Select label={`Only ${wordsOf(by)}`} w={220} clearable searchable value={value} placeholder="all" data={values.map(([name]) => name).filter(Boolean)} onChange={setValue} />
          <Button variant="default" disabled={!narrowed} onClick={() => { setChosen(null); setValue(null); }}>All studies</Button>
        </Group>
        <Text size="sm" role="status">
          {shown.length.toLocaleString("en-GB")} {shown.length === 1 ? "study" : "studies"}{chosen ? " drawn around" : ""}
          {shown.length > LISTED ? `, the first ${LISTED} listed` : ""}. {chosen ? "" : "Draw around points to list them."}
        </Text>
        <div className="scroll" tabIndex={0} role="region" aria-label="Studies" style={{ maxHeight: 480 }}>
          <table className="rows">
            <thead><tr><th scope="col">Study</th><th scope="col">Label</th><th scope="col">Split</th><th scope="col">Modality</th><th scope="col">Dataset</th></tr></thead>
            <tbody>
              {shown.slice(0, LISTED).map((at) => (
                <tr key={at}>
                  <td className="one" title={points.sample[at]}><Study home={points.homes[at]} source={points.source[at] ?? ""} sample={points.sample[at] ?? ""} /></td><td>{points.label[at] || "–"}</td>
                  <td>{points.split[at]}</td><td>{points.modality[at]}</td><td className="one"><HomeLink home={points.homes[at]} id={points.dataset[at] ?? ""} /></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Stack>
    </SimpleGrid>
  );
}
