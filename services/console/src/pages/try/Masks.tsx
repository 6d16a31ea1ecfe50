import { Alert, Checkbox, Group, Loader, NumberInput, SegmentedControl, Slider, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, useState } from "react";

import { type Answer, infer, type Served } from "../../api/gateway";
import { Failure } from "../../components/Failure";
import { number } from "../../format";
import { isNifti, readNifti, Unreadable, type Volume } from "../../viewer/nifti";
import { colourOf, usualWindow } from "../../viewer/planes";
import { flat, pictureOf } from "../../viewer/picture";

const Planes = lazy(() => import("../../viewer/Planes"));
// NiiVue is larger than all else together: it is fetched by whoever asks for it
const Solid = lazy(() => import("../../viewer/Solid"));

export interface Segmented {
  /** Of the answer: files of two patients may have the same name, date and size. */
  id: number;
  file: File;
  answer: Answer;
}

interface Seen {
  volume: Volume;
  mask: Volume;
}

/** What the viewer can show of a file: a volume or an image with its mask; null for formats that the browser cannot read. */
async function seen({ file, answer }: Segmented): Promise<Seen | null> {
  const mask = answer.bytes as Uint8Array<ArrayBuffer>;
  if (isNifti(file.name)) {
    const [volume, labels] = await Promise.all([file.arrayBuffer().then((each) => readNifti(each)), readNifti(mask.slice().buffer, true)]);
    if (volume.size.join() !== labels.size.join()) throw new Unreadable("the mask has another size than the file");
    return { volume, mask: labels };
  }
  if (answer.mediaType !== "image/png") return null;
  const image = await pictureOf(file).catch(() => null);
  return image && { volume: flat(image, "grey"), mask: flat(await pictureOf(new Blob([mask])), "labels") };
}

/** The masks of a file over it, and how much each class covers. */
export function Masks({ result, url, model }: { result: Segmented; url: string; model: Served }) {
  const [opacity, setOpacity] = useState(0.5);
  const [way, setWay] = useState<"planes" | "solid">("planes");
  const [hidden, setHidden] = useState<ReadonlySet<number>>(new Set());
  const view = useQuery({ queryKey: ["seen", result.id], queryFn: () => seen(result), retry: false, staleTime: Infinity });
  const classes = useMemo(() => JSON.parse(result.answer.headers["X-Class-Names"] ?? "[]") as string[], [result]);
  const inMl = result.answer.headers["X-Volume-Ml"];
  const amounts = JSON.parse(inMl ?? result.answer.headers["X-Pixels"] ?? "{}") as Record<string, number>;
  return (
    <Stack gap="sm">
      <table className="rows" aria-label="What was found">
        <thead><tr><th scope="col">Class</th><th scope="col" className="num">{inMl ? "Volume, ml" : "Pixels"}</th><th scope="col">Shown</th></tr></thead>
        <tbody>
          {classes.map((name, at) => (
            <tr key={name}>
              <td><span className="swatch" aria-hidden style={{ background: `rgb(${colourOf(at + 1).join()})` }} />{name}</td>
              <td className="num">{number(amounts[name])}</td>
              <td>
                <Checkbox aria-label={`Show ${name}`} checked={!hidden.has(at + 1)} onChange={() => setHidden((old) => {
                  const next = new Set(old);
                  if (!next.delete(at + 1)) next.add(at + 1);
                  return next;
                })} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {Object.values(amounts).every((each) => each === 0) && <Text size="sm">Nothing was found: no probability is above one half.</Text>}
      {view.isPending && <Loader size="sm" />}
      {view.error && <Alert color="orange" variant="light" title="The file cannot be shown here">{view.error.message}</Alert>}
      {view.data && (
        <>
          <Group gap="sm" wrap="nowrap">
            <Text size="sm" w={90}>Opacity</Text>
            <Slider style={{ flexGrow: 1 }} min={0} max={1} step={0.05} value={opacity} onChange={setOpacity} label={(value) => `${Math.round(100 * value)} %`}
              thumbLabel="Opacity of the mask" />
          </Group>
          {view.data.volume.size[2] > 1 && (
            <SegmentedControl aria-label="How it is shown" w="fit-content" value={way} onChange={(to) => setWay(to as typeof way)}
              data={[{ value: "planes", label: "Three planes" }, { value: "solid", label: "3-D" }]} />
          )}
          <Suspense fallback={<Loader size="sm" />}>
            {way === "planes" ? <Planes volume={view.data.volume} mask={view.data.mask} hidden={hidden} opacity={opacity} /> : (
              <Solid key={result.id} file={result.file} mask={result.answer.bytes as Uint8Array<ArrayBuffer>}
                classes={classes} hidden={hidden} opacity={opacity} window={usualWindow(view.data.volume.data)} />
            )}
          </Suspense>
        </>
      )}
      {view.data === null && <Drawn result={result} url={url} volume={model.kind === "volume3d"} />}
    </Stack>
  );
}

/** The gateway's own picture of the mask, of what the browser cannot read. */
function Drawn({ result, url, volume }: { result: Segmented; url: string; volume: boolean }) {
  const [slice, setSlice] = useState<number | null>(null);
  const picture = useQuery({
    queryKey: ["drawn", result.id, slice],
    queryFn: async ({ signal }) => {
      const answer = await infer(`${url}?format=overlay${slice == null ? "" : `&slice=${slice}`}`, result.file, signal, () => undefined);
      let text = "";
      for (const each of answer.bytes ?? []) text += String.fromCharCode(each);
      return { source: `data:image/png;base64,${btoa(text)}`, slice: answer.headers["X-Slice"] };
    },
    retry: false,
    staleTime: Infinity,
    placeholderData: (old) => old,
  });
  if (picture.error) return <Failure error={picture.error} />;
  if (!picture.data) return <Loader size="sm" />;
  return (
    <figure style={{ margin: 0 }}>
      <img className="picture" src={picture.data.source} alt="The masks over the file, as the gateway draws them" />
      <Group mt={4} align="flex-end">
        <Text size="xs" c="dimmed">This format is drawn by the gateway{picture.data.slice ? `; axial slice ${picture.data.slice}` : ""}.</Text>
        {volume && <NumberInput label="Slice" size="xs" w={110} min={0} value={Number(picture.data.slice ?? 0)} onChange={(to) => setSlice(Number(to))} />}
        {picture.isFetching && <Loader size="xs" />}
      </Group>
    </figure>
  );
}
