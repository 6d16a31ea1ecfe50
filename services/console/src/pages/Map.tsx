import { Button, Card, Group, Select, SimpleGrid, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { indexesQuery } from "../api/gateway";
import { Failure } from "../components/Failure";
import { COLUMNS, type MapSearch } from "../router";
import { Heading } from "../Shell";
import { Legend } from "../plots/Legend";
import { type Column, grouped, NAMED, type Points, pointsQuery, wordsOf } from "./map/points";
import { Scatter } from "./map/Scatter";

const LISTED = 200;

export default function EmbeddingMap() {
  const { project } = useSearch({ from: "__root__" });
  const search = useSearch({ from: "/map" });
  const navigate = useNavigate({ from: "/map" });
  const indexes = useQuery(indexesQuery(project));
  const ready = (indexes.data?.items ?? []).filter((each) => each.version > 0);
  const index = ready.find((each) => each.name === search.index) ?? ready[0];
  const points = useQuery(pointsQuery(index));
  const by = search.by ?? "label";
  const set = (change: Partial<MapSearch>) => void navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  return (
    <>
      <Heading>Map of studies</Heading>
      {indexes.error && <Failure error={indexes.error} retry={() => void indexes.refetch()} />}
      {indexes.isSuccess && !index && <Text>There is no index yet. <code>medcoss indexes create</code> makes one of an encoder and prepared datasets.</Text>}
      {index && (
        <Group mb="md" align="flex-end">
          <Select label="Index" w={260} allowDeselect={false} value={index.name} data={ready.map((each) => each.name)} onChange={(to) => set({ index: to ?? undefined })} />
          <Select label="Coloured by" w={180} allowDeselect={false} value={by} data={COLUMNS.map((each) => ({ value: each, label: wordsOf(each) }))} onChange={(to) => set({ by: to as Column })} />
          <Text size="sm" c="dimmed" mb={8}>{(index.vectors ?? 0).toLocaleString("en-GB")} studies, version {index.version}, encoder {index.encoder}</Text>
        </Group>
      )}
      {points.error && <Failure error={points.error} />}
      {points.data && <Drawn key={`${index?.id} ${by}`} points={points.data} by={by} />}
    </>
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
        {by === "made" && <Text size="xs" c="dimmed">Days on which the datasets of the studies were made.</Text>}
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
                  <td className="one" title={points.sample[at]}>{points.source[at] || points.sample[at]}</td><td>{points.label[at] || "–"}</td>
                  <td>{points.split[at]}</td><td>{points.modality[at]}</td><td className="one">{points.dataset[at]}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Stack>
    </SimpleGrid>
  );
}
