import { Anchor, Card, SimpleGrid, Slider, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";

import type { Artifact } from "../../api/client";
import { artifactsQuery } from "../../api/queries";
import { Failure } from "../../components/Failure";
import { Large } from "../../components/Large";
import { bytes, number } from "../../format";

const PICTURES = 24;

/** The files that the job kept; pictures are shown. */
export function Files({ id, over }: { id: string; over: boolean }) {
  const found = useQuery({ ...artifactsQuery(id), refetchInterval: over ? false : 15_000 });
  const files = useMemo(() => found.data?.items ?? [], [found.data]);
  const { series, others } = useMemo(() => sorted(files), [files]);
  const pictures = others.slice(-PICTURES);
  if (found.error) return <Failure error={found.error} retry={() => void found.refetch()} />;
  if (found.isSuccess && files.length === 0) return <Text size="sm" c="dimmed">{over ? "It has kept no file." : "No file yet."}</Text>;
  return (
    <>
      <ul>
        {files.map((file) => (
          <li key={file.name}>
            <Anchor href={file.url} target="_blank" rel="noreferrer" size="sm">{file.name}</Anchor>{" "}
            <Text span size="xs" c="dimmed">{file.content_type}, {bytes(file.size)}</Text>
          </li>
        ))}
      </ul>
      {found.data?.next && <Text size="sm">The first {number(files.length)} by name are shown; <code>medcoss jobs artifacts {id}</code> lists all.</Text>}
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        {series.map(([name, found]) => <ByEpoch key={name} name={name} found={found} />)}
        {pictures.map((file) => (
          <figure key={file.name} style={{ margin: 0 }}>
            <Large source={file.url} words={file.name} lazy />
            <Text component="figcaption" size="xs" c="dimmed">{file.name}</Text>
          </figure>
        ))}
      </SimpleGrid>
    </>
  );
}

type Series = [name: string, found: { epoch: number; url: string }[]];

/** Pictures that were drawn again and again, by epoch, and those that were not. */
function sorted(files: readonly Artifact[]): { series: Series[]; others: Artifact[] } {
  const pictures = files.filter((file) => /^image\/(png|jpeg|svg)/.test(file.content_type));
  const found = new Map<string, Series[1]>();
  const others: Artifact[] = [];
  for (const file of pictures) {
    const parts = /^(.+?)_?epoch_?(\d+)\.\w+$/.exec(file.name);
    if (parts?.[1]) found.set(parts[1], [...(found.get(parts[1]) ?? []), { epoch: Number(parts[2]), url: file.url }]);
    // samples are gone through on the page of their dataset
    else if (!/^sample_\d{3}(_mask)?\.png$/.test(file.name)) others.push(file);
  }
  for (const each of found.values()) each.sort((a, b) => a.epoch - b.epoch);
  return { series: [...found], others };
}

/** One picture as it was after each epoch; the newest first. */
function ByEpoch({ name, found }: { name: string; found: Series[1] }) {
  const [chosen, setChosen] = useState<number | null>(null);
  const at = Math.min(chosen ?? found.length - 1, found.length - 1);
  const shown = found[at];
  if (!shown) return null;
  const title = name.replaceAll("_", " ");
  const epochs = found.length > 1 && (
    <Slider mt="xs" min={0} max={found.length - 1} value={at} onChange={setChosen} label={(place) => `epoch ${found[place]?.epoch ?? ""}`}
      thumbLabel={`epoch of ${title}`} />
  );
  return (
    <Card withBorder padding="sm" component="figure" m={0}>
      <Large source={shown.url} words={`${title} after epoch ${shown.epoch}`}>{epochs}</Large>
      <Text component="figcaption" size="sm">{title}, epoch {shown.epoch}</Text>
      {epochs}
    </Card>
  );
}
