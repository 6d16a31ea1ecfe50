import { Alert, Button, Checkbox, Code, Group, Loader, Slider, Stack, Text } from "@mantine/core";
import { keepPreviousData, useQuery, useQueryClient, type QueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, useState } from "react";

import { addressQuery, fetched, type Place, type Sample } from "../../api/samples";
import { Failure } from "../../components/Failure";
import { bytes, number } from "../../format";
import { rowsOf } from "../../samples/table";
import { readNifti, Unreadable, type Volume } from "../../viewer/nifti";
import { isJpeg, labelsOf, type Labels, pictureOf } from "../../viewer/picture";
import { colourOf } from "../../viewer/planes";
import { flatDeep, HEAD, isDeep, labelsOfDeep, readDeep } from "../../viewer/png";

const Planes = lazy(() => import("../../viewer/Planes"));
const Overlay = lazy(() => import("../../viewer/Overlay"));

/** Files above it are fetched when somebody says so. */
const LARGE = 200 * 2 ** 20;
const LETTERS = 200_000;
const ROWS = 200;
const HEAD_ROWS = 1;
/** More labels are shown and hidden together. */
const FEW = 4;

type Seen =
  | { kind: "volume"; volume: Volume; mask: Volume | null; problem: string }
  | { kind: "image"; url: string; mask: Labels | null; problem: string }
  | { kind: "text" | "table"; text: string; isCut: boolean };

/** The chosen sample, large; its files are fetched when it is chosen, and large ones when somebody says so. */
export function OneSample({ dataset, sample }: { dataset: string; sample: Sample }) {
  const [isWanted, setWanted] = useState(false);
  const queries = useQueryClient();
  const isText = sample.kind === "text" || sample.kind === "table";
  const size = isText ? 0 : (sample.image?.size ?? 0) + (sample.mask?.size ?? 0);
  const isEmpty = sample.image?.size === 0;
  const mayCome = !isEmpty && (size <= LARGE || isWanted);
  const view = useQuery({
    queryKey: ["seen-sample", dataset, sample.key, sample.image?.url ?? ""],
    queryFn: ({ signal }) => seen(queries, dataset, sample, signal),
    enabled: mayCome && (sample.image !== null || sample.text !== null), retry: false, staleTime: Infinity,
    // a volume takes what it takes: the one before it is let go
    gcTime: 0,
    placeholderData: isText ? keepPreviousData : undefined,
  });
  return (
    <Stack gap="sm">
      {sample.problem && <Alert color="orange" variant="light" title={sample.image ? "A part of it is not shown" : "Not the whole of it is shown"}>{sample.problem}</Alert>}
      {isEmpty && <Alert color="orange" variant="light" title="The file is empty">It has 0 bytes.</Alert>}
      {!mayCome && !isEmpty && (
        <Alert color="blue" variant="light" title="This is a large file">
          <Text size="sm" mb="xs">{bytes(size)} are fetched and unpacked in this browser, which may take a while and several times the memory.</Text>
          <Button size="xs" onClick={() => setWanted(true)}>Fetch {bytes(size)}</Button>
        </Alert>
      )}
      {sample.image === null && sample.text === null && !sample.problem && <Text size="sm">A browser cannot open this kind of file; an inspection that draws it can show it.</Text>}
      {view.isFetching && <Group gap="xs" role="status"><Loader size="sm" /><Text size="sm">Fetching {size ? bytes(size) : ""} …</Text></Group>}
      {view.error instanceof Unreadable && <Alert color="orange" variant="light" title="This browser cannot show it" role="alert">{view.error.message}. An inspection of the dataset tells whether it can be used.</Alert>}
      {view.error && !(view.error instanceof Unreadable) && <Failure error={view.error} retry={() => void view.refetch()} />}
      {view.data && <View sample={sample} seen={view.data} />}
    </Stack>
  );
}

async function seen(queries: QueryClient, dataset: string, sample: Sample, signal: AbortSignal): Promise<Seen> {
  if (sample.text !== null) return { kind: "text", text: sample.text, isCut: false };
  const image = sample.image as Place;
  const address = (place: Place) => place.url ?? queries.fetchQuery(addressQuery(dataset, place.name));
  const url = await address(image);
  if (sample.kind === "text" || sample.kind === "table") {
    const text = await (await fetched(url, image.name, signal, image.size > LETTERS ? LETTERS : undefined)).text();
    return { kind: sample.kind, text, isCut: image.size > LETTERS };
  }
  const maskFile = sample.mask && sample.mask.size > 0 && (await fetched(await address(sample.mask), sample.mask.name, signal));
  if (sample.kind === "image") {
    const mask = maskFile ? await labelled(await maskFile.blob()) : null;
    if (!/\.png$/i.test(image.name) || !isDeep(await (await fetched(url, image.name, signal, HEAD)).arrayBuffer())) return { kind: "image", url, mask, problem: "" };
    const volume = flatDeep(await readDeep(await (await fetched(url, image.name, signal)).arrayBuffer()));
    return fitted(volume, mask && { size: [mask.width, mask.height, 1], spacing: [1, 1, 1], data: mask.data.slice().reverse(), isFlat: true });
  }
  const volume = await readNifti(await (await fetched(url, image.name, signal)).arrayBuffer());
  if (!maskFile) return { kind: "volume", volume, mask: null, problem: sample.mask ? "Its mask is not shown: that file is empty." : "" };
  try {
    return fitted(volume, await readNifti(await maskFile.arrayBuffer(), true));
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return { kind: "volume", volume, mask: null, problem: `Its mask is not shown: ${error.message}.` };
  }
}

function fitted(volume: Volume, mask: Volume | null): Seen {
  const fits = !mask || mask.size.join() === volume.size.join();
  return { kind: "volume", volume, mask: fits ? mask : null, problem: fits ? "" : `Its mask is not shown: it has ${mask?.size.join(" × ")} voxels, what it belongs to ${volume.size.join(" × ")}.` };
}

async function labelled(file: Blob): Promise<Labels> {
  const head = await file.slice(0, HEAD).arrayBuffer();
  if (isDeep(head)) return labelsOfDeep(await readDeep(await file.arrayBuffer()));
  return labelsOf(await pictureOf(file), isJpeg(head));
}

function View({ sample, seen: found }: { sample: Sample; seen: Seen }) {
  const [opacity, setOpacity] = useState(0.5);
  const [hidden, setHidden] = useState<ReadonlySet<number>>(new Set());
  const [fits, setFits] = useState(true);
  const mask = "mask" in found && fits ? found.mask : null;
  const labels = useMemo(() => (mask ? [...new Set<number>(mask.data)].filter(Boolean).sort((a, b) => a - b) : []), [mask]);
  const toggle = (label: number) => setHidden((old) => (old.has(label) ? new Set([...old].filter((each) => each !== label)) : new Set([...old, label])));
  if ("text" in found) return found.kind === "table" ? <Table {...found} name={sample.key} /> : <Words {...found} name={sample.key} />;
  return (
    <>
      {"problem" in found && found.problem && <Text size="sm" role="alert">{found.problem}</Text>}
      {mask && (
        <Group gap="md">
          <Group gap="sm" wrap="nowrap" w={240}>
            <Text size="sm">Mask</Text>
            <Slider style={{ flexGrow: 1 }} min={0} max={1} step={0.05} value={opacity} onChange={setOpacity} label={(value) => `${Math.round(100 * value)} %`}
              thumbLabel="Opacity of the mask" />
          </Group>
          {labels.map((label) => (
            <Checkbox key={label} size="sm" checked={!hidden.has(label)} onChange={() => toggle(label)}
              label={<><span className="swatch" aria-hidden style={{ background: `rgb(${colourOf(label).join()})` }} />{sample.labels[label] ?? `label ${label}`}</>} />
          ))}
          {labels.length > FEW && (
            <Button size="compact-xs" variant="default" onClick={() => setHidden(hidden.size ? new Set() : new Set(labels))}>{hidden.size ? "Show all" : "Hide all"}</Button>
          )}
          {labels.length === 0 && <Text size="sm" c="dimmed">It marks nothing here.</Text>}
        </Group>
      )}
      <Suspense fallback={<Loader size="sm" />}>
        {found.kind === "volume" ? (
          <>
            <Planes volume={found.volume} mask={found.mask} hidden={hidden} opacity={opacity} first={sample.window} />
            <Text size="xs" c="dimmed">
              {found.volume.isFlat ? `${found.volume.size.slice(0, 2).join(" × ")} pixels of 16 bits` : <>{found.volume.size.join(" × ")} voxels of {found.volume.spacing.map((each) => number(each)).join(" × ")} mm are shown{found.volume.isUnplaced ? "" : ", from left to right, back to front, feet to head"}.</>}
            </Text>
          </>
        ) : <Overlay url={found.url} alt={sample.key} mask={found.mask} hidden={hidden} opacity={opacity} fitting={setFits} />}
      </Suspense>
    </>
  );
}

function Words({ text, isCut, name }: { text: string; isCut: boolean; name: string }) {
  return (
    <>
      <Code block className="json report" tabIndex={0} role="region" aria-label={`Text of ${name}`}>{text || "It has no words."}</Code>
      {isCut && <Text size="xs" c="dimmed">Its beginning, {bytes(LETTERS)}.</Text>}
    </>
  );
}

function Table({ text, isCut, name }: { text: string; isCut: boolean; name: string }) {
  const rows = useMemo(() => rowsOf(text, /\.tsv$/i.test(name) ? "\t" : ",", ROWS + HEAD_ROWS + 1), [text, name]);
  const [head = [], ...body] = rows.slice(0, ROWS + HEAD_ROWS);
  return (
    <>
      <div className="scroll report" tabIndex={0} role="region" aria-label={`Table ${name}`}>
        <table className="rows">
          <thead><tr>{head.map((each, at) => <th key={at} scope="col">{each || `column ${at + 1}`}</th>)}</tr></thead>
          <tbody>{body.map((row, at) => <tr key={at}>{row.map((each, column) => <td key={column}>{each}</td>)}</tr>)}</tbody>
        </table>
      </div>
      {(isCut || rows.length > ROWS + HEAD_ROWS) && <Text size="xs" c="dimmed">Its first {number(body.length)} rows.</Text>}
      {body.length === 0 && <Text size="xs" c="dimmed">It has no rows.</Text>}
    </>
  );
}
