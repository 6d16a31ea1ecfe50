import { Group, RangeSlider, SimpleGrid, Slider, Stack, Switch, Text } from "@mantine/core";
import { useEffect, useMemo, useRef, useState } from "react";

import { number } from "../format";
import type { Volume } from "./nifti";
import { ALONG, AXIS, mostOf, painted, placeOf, PLANES, type Plane, shareOf, SIDES, sliceOf, usualWindow } from "./planes";

interface Props {
  volume: Volume;
  mask: Volume | null;
  /** Labels that are not shown. */
  hidden: ReadonlySet<number>;
  opacity: number;
  /** The brightness to begin with, where it is known. */
  first?: readonly [number, number] | undefined;
}

const HIGH_PX = 420;
/** A smaller turn is that of a head on its rest. */
const TILTED = 5;
const HIGH_FLAT_PX = 620;

type Place = [number, number, number];

/** A volume in its three planes with its mask; slices go with the wheel, the arrow keys or the slider, and a click leads all
 * three to a voxel.
 */
export default function Planes({ volume, mask, hidden, opacity, first }: Props) {
  const usual = useMemo(() => (first ? ([...first] as [number, number]) : usualWindow(volume.data)), [volume, first]);
  const [window, setWindow] = useState(usual);
  const [at, setAt] = useState(() => mostOf(mask, volume.size));
  useEffect(() => setWindow(usual), [usual]);
  useEffect(() => setAt(mostOf(mask, volume.size)), [mask, volume]);
  const [isCrossed, setCrossed] = useState(true);
  const span = usual[1] - usual[0];
  const index = at[0] + volume.size[0] * (at[1] + volume.size[1] * at[2]);
  return (
    <Stack gap="sm">
      {notes(volume).map((each) => <Text key={each} size="sm" role="note">{each}</Text>)}
      <SimpleGrid cols={volume.isFlat ? 1 : { base: 1, sm: 2, xl: 3 }}>
        {(volume.isFlat ? (["axial"] as const) : PLANES).map((plane) => (
          <Picture key={plane} plane={plane} volume={volume} mask={mask} hidden={hidden} opacity={opacity} window={window}
            at={at} go={setAt} isCrossed={isCrossed} />
        ))}
      </SimpleGrid>
      {!volume.isFlat && (
        <Group gap="md" justify="space-between">
          <Text size="sm" role="status" aria-label="Under the crosshair">
            Voxel {at.map((each) => each + 1).join(", ")} {volume.isUnplaced ? "along the axes of the file" : "from the left, back and feet"}: value {number(volume.data[index])}
            {mask && `, label ${mask.data[index] ?? 0}`}
          </Text>
          <Switch size="sm" label="Crosshair" checked={isCrossed} onChange={(event) => setCrossed(event.currentTarget.checked)} />
        </Group>
      )}
      <Group gap="sm" wrap="nowrap" align="center">
        <Text size="sm" w={90}>Brightness</Text>
        <RangeSlider style={{ flexGrow: 1 }} min={usual[0] - span / 2} max={usual[1] + span} step={span / 200} minRange={span / 100} value={window}
          onChange={setWindow} label={number} thumbFromLabel="darkest" thumbToLabel="brightest" />
      </Group>
    </Stack>
  );
}

/** What has to be known of a volume before it is looked at. */
function notes({ isUnplaced, tilt = 0, of = 1, notFinite = 0 }: Volume): string[] {
  return [
    isUnplaced ? "The file does not say how it lies in the patient: which side is which is not known, and the planes are those of the file." : "",
    !isUnplaced && tilt > TILTED ? `It is turned by ${Math.round(tilt)}° against the patient's axes and shown along its own: each letter is the nearest side.` : "",
    of > 1 ? `This is volume 1 of ${number(of)} in the file.` : "",
    notFinite ? `${number(notFinite)} voxels are infinite or no number; they are black.` : "",
  ].filter(Boolean);
}

interface PictureProps extends Props {
  plane: Plane;
  at: Place;
  go: (to: Place) => void;
  isCrossed: boolean;
  window: readonly [number, number];
}

function Picture({ plane, volume, mask, hidden, opacity, window, at, go: goTo, isCrossed }: PictureProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const slice = at[AXIS[plane]];
  const last = volume.size[AXIS[plane]] - 1;
  const move = (to: number) => goTo(at.map((each, axis) => (axis === AXIS[plane] ? to : each)) as Place);
  const [across, down] = ALONG[plane];
  const shape = useMemo(() => sliceOf(volume, plane, slice), [volume, plane, slice]);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    context?.putImageData(painted(volume, mask, shape, window, opacity, hidden), 0, 0);
  }, [volume, mask, shape, window, opacity, hidden]);
  const go = useRef(move);
  go.current = (to) => move(Math.max(0, Math.min(last, to)));
  const now = useRef(slice);
  now.current = slice;
  useEffect(() => {
    const element = canvas.current;
    // React listens passively, and the page would scroll along
    const turned = (event: WheelEvent) => {
      event.preventDefault();
      go.current(now.current + Math.sign(event.deltaY));
    };
    element?.addEventListener("wheel", turned, { passive: false });
    return () => element?.removeEventListener("wheel", turned);
  }, []);
  const [left, right, top, bottom] = SIDES[plane];
  const hasSides = !volume.isFlat && !volume.isUnplaced;
  const words = volume.isFlat ? "the image, as it is in the file" : `${plane} slice ${slice + 1} of ${last + 1}${hasSides ? `, ${left} at the left, ${top} at the top` : ", sides not known"}`;
  const pointed = (event: React.PointerEvent<HTMLCanvasElement>) => {
    if (volume.isFlat || !event.buttons) return;
    const box = event.currentTarget.getBoundingClientRect();
    const to = [...at] as Place;
    to[across] = placeOf((event.clientX - box.left) / box.width, volume.size[across]);
    to[down] = placeOf((event.clientY - box.top) / box.height, volume.size[down]);
    goTo(to);
  };
  const ratio = shape.mm[0] / shape.mm[1];
  return (
    <figure className="plane" data-plane={plane} data-flat={volume.isFlat}>
      <div className="frame">
        <div className="shot" style={{ aspectRatio: ratio, width: `min(100%, ${Math.round((volume.isFlat ? HIGH_FLAT_PX : HIGH_PX) * ratio)}px)` }}>
          <canvas ref={canvas} width={shape.width} height={shape.height} role="img" aria-label={words}
            onPointerDown={(event) => { event.currentTarget.setPointerCapture(event.pointerId); pointed(event); }} onPointerMove={pointed} />
          {isCrossed && !volume.isFlat && (
            <>
              <span className="cross across" style={{ left: `${100 * shareOf(at[across], volume.size[across])}%` }} />
              <span className="cross down" style={{ top: `${100 * shareOf(at[down], volume.size[down])}%` }} />
            </>
          )}
        </div>
        {hasSides && (
          <>
            <span className="side left">{left}</span><span className="side right">{right}</span>
            <span className="side top">{top}</span><span className="side bottom">{bottom}</span>
          </>
        )}
      </div>
      {!volume.isFlat && (
        <figcaption>
          <Text size="xs" c="dimmed">{plane}, slice {slice + 1} of {last + 1}</Text>
          {last > 0 && <Slider size="sm" min={0} max={last} value={slice} onChange={move} label={(value) => value + 1} thumbLabel={`${plane} slice`} />}
        </figcaption>
      )}
    </figure>
  );
}
