import { Group, RangeSlider, SimpleGrid, Slider, Stack, Text } from "@mantine/core";
import { useEffect, useMemo, useRef, useState } from "react";

import { number } from "../format";
import type { Volume } from "./nifti";
import { AXIS, mostOf, painted, PLANES, type Plane, SIDES, sliceOf, usualWindow } from "./planes";

interface Props {
  volume: Volume;
  mask: Volume | null;
  /** Labels that are not shown. */
  hidden: ReadonlySet<number>;
  opacity: number;
}

/** A volume in its three planes with its mask; slices go with the wheel, the arrow keys or the slider. */
export default function Planes({ volume, mask, hidden, opacity }: Props) {
  const usual = useMemo(() => usualWindow(volume.data), [volume]);
  const [window, setWindow] = useState(usual);
  const [at, setAt] = useState(() => mostOf(mask, volume.size));
  useEffect(() => setWindow(usual), [usual]);
  useEffect(() => setAt(mostOf(mask, volume.size)), [mask, volume]);
  const span = usual[1] - usual[0];
  return (
    <Stack gap="sm">
      <SimpleGrid cols={{ base: 1, sm: 2, xl: 3 }}>
        {(volume.isFlat ? (["axial"] as const) : PLANES).map((plane) => (
          <Picture key={plane} plane={plane} volume={volume} mask={mask} hidden={hidden} opacity={opacity} window={window}
            slice={at[AXIS[plane]]} move={(to) => setAt((old) => old.map((each, axis) => (axis === AXIS[plane] ? to : each)) as typeof old)} />
        ))}
      </SimpleGrid>
      <Group gap="sm" wrap="nowrap" align="center">
        <Text size="sm" w={90}>Brightness</Text>
        <RangeSlider style={{ flexGrow: 1 }} min={usual[0] - span / 2} max={usual[1] + span} step={span / 200} minRange={span / 100} value={window}
          onChange={setWindow} label={number} thumbFromLabel="darkest" thumbToLabel="brightest" />
      </Group>
    </Stack>
  );
}

interface PictureProps extends Props {
  plane: Plane;
  slice: number;
  window: readonly [number, number];
  move: (to: number) => void;
}

function Picture({ plane, volume, mask, hidden, opacity, window, slice, move }: PictureProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const last = volume.size[AXIS[plane]] - 1;
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
  const words = volume.isFlat ? "the image, as it is in the file" : `${plane} slice ${slice + 1} of ${last + 1}, ${left} at the left, ${top} at the top`;
  return (
    <figure className="plane" data-plane={plane}>
      <div className="frame">
        <canvas ref={canvas} width={shape.width} height={shape.height} role="img" aria-label={words}
          style={{ aspectRatio: `${shape.mm[0]} / ${shape.mm[1]}` }} />
        {!volume.isFlat && (
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
