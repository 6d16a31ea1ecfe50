import { Alert, Group, Loader, Slider, Stack, Text } from "@mantine/core";
import { NVImage, Niivue, SLICE_TYPE } from "@niivue/niivue";
import { useEffect, useRef, useState } from "react";

import { colourOf } from "./planes";

interface Props {
  /** The volume and the labels as NIfTI files; the same voxels in both. */
  file: File;
  mask: Uint8Array<ArrayBuffer>;
  classes: readonly string[];
  /** Labels that are not shown. */
  hidden: ReadonlySet<number>;
  opacity: number;
  /** Brightness that is drawn from transparent to full. */
  window: readonly [number, number];
}

const STEP_DEGREES = 10;
const FIRST: Turned = [130, 15];
const KEYS: Record<string, Turned> = {
  ArrowLeft: [-STEP_DEGREES, 0], ArrowRight: [STEP_DEGREES, 0], ArrowUp: [0, STEP_DEGREES], ArrowDown: [0, -STEP_DEGREES],
};
const percent = (value: number) => `${Math.round(100 * value)} %`;

type Turned = readonly [azimuth: number, elevation: number];

/** NiiVue on a canvas, with the volume and its labels once both are loaded; what went wrong, where it cannot. */
function useScene({ file, mask, classes, window }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [scene, setScene] = useState<Niivue | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [turned, setTurned] = useState<Turned>(FIRST);
  useEffect(() => {
    const element = canvas.current;
    if (!element) return undefined;
    let isGone = false;
    const made = new Niivue({
      show3Dcrosshair: false, isOrientCube: true, dragAndDropEnabled: false, backColor: [0, 0, 0, 1], clipPlaneColor: [0, 0, 0, 0], loadingText: "", logLevel: "error",
    });
    const load = async () => {
      await made.attachToCanvas(element);
      made.setSliceType(SLICE_TYPE.RENDER);
      const volume = await NVImage.loadFromUrl({ url: await file.arrayBuffer(), name: named(file), cal_min: window[0], cal_max: window[1] });
      const labels = await NVImage.loadFromUrl({ url: mask.slice().buffer, name: "mask.nii" });
      if (isGone) return;
      labels.setColormapLabel(colours(classes, new Set()));
      made.addVolume(volume);
      made.addVolume(labels);
      setScene(made);
    };
    made.onAzimuthElevationChange = (azimuth, elevation) => setTurned([Math.round(azimuth), Math.round(elevation)]);
    made.scene.renderAzimuth = FIRST[0];
    made.scene.renderElevation = FIRST[1];
    load().catch((error: unknown) => !isGone && setProblem(error instanceof Error ? error.message : String(error)));
    return () => {
      isGone = true;
      made.cleanup();
      // a browser has few contexts; while it is developed, an effect begins twice on one canvas
      setTimeout(() => element.isConnected || element.getContext("webgl2")?.getExtension("WEBGL_lose_context")?.loseContext());
    };
    // of another file it is another component
    // eslint-disable-next-line
  }, []);
  return { canvas, scene, problem, turned };
}

/** A volume with its mask in three dimensions, by NiiVue: turned by dragging or the arrow keys, cut open by a plane. */
export default function Solid(props: Props) {
  const { classes, hidden, opacity } = props;
  const { canvas, scene, problem, turned } = useScene(props);
  const [body, setBody] = useState(0.4);
  const [cut, setCut] = useState(0);
  useEffect(() => {
    if (!scene) return;
    const [volume, labels] = scene.volumes;
    labels?.setColormapLabel(colours(classes, hidden));
    if (volume) volume.opacity = body;
    if (labels) labels.opacity = opacity;
    scene.updateGLVolume();
  }, [scene, body, opacity, hidden, classes]);
  // as deep as 2 it lies outside
  useEffect(() => scene?.setClipPlane(cut > 0 ? [0.5 - cut, 180, 0] : [2, 0, 0]), [scene, cut]);
  if (problem) {
    return <Alert color="orange" variant="light" title="The volume cannot be shown in three dimensions">{problem}. It takes WebGL 2; the planes do not.</Alert>;
  }
  return (
    <Stack gap="sm">
      <div className="solid">
        <canvas ref={canvas} role="img" tabIndex={0} data-drawn={scene !== null}
          aria-label={`the volume in three dimensions, azimuth ${turned[0]} degrees, elevation ${turned[1]} degrees; the arrow keys turn it`}
          onKeyDown={(event) => {
            const by = KEYS[event.key];
            if (!by) return;
            event.preventDefault();
            scene?.setRenderAzimuthElevation((turned[0] + by[0] + 360) % 360, Math.max(-90, Math.min(90, turned[1] + by[1])));
          }} />
        {!scene && <Loader size="sm" className="waits" />}
      </div>
      <Amount label="Volume" thumb="Opacity of the volume" value={body} set={setBody} />
      <Amount label="Cut open" thumb="Depth of the cut" value={cut} set={setCut} />
      <Text size="xs" c="dimmed">Drag it or use the arrow keys to turn it. The cut goes from the front of the patient to the back; the mask stays whole.</Text>
    </Stack>
  );
}

function Amount({ label, thumb, value, set }: { label: string; thumb: string; value: number; set: (value: number) => void }) {
  return (
    <Group gap="sm" wrap="nowrap">
      <Text size="sm" w={90}>{label}</Text>
      <Slider style={{ flexGrow: 1 }} min={0} max={1} step={0.05} value={value} onChange={set} label={percent} thumbLabel={thumb} />
    </Group>
  );
}

/** Its format is known by its name alone. */
const named = (file: File) => (/\.gz$/i.test(file.name) ? "volume.nii.gz" : "volume.nii");

/** The colours that the planes have, for NiiVue. */
function colours(classes: readonly string[], hidden: ReadonlySet<number>) {
  const labels = [0, ...classes.map((_, at) => at + 1)];
  const channel = (which: number) => labels.map((each) => (each ? (colourOf(each)[which] ?? 0) : 0));
  return {
    R: channel(0), G: channel(1), B: channel(2), A: labels.map((each) => (each && !hidden.has(each) ? 255 : 0)), I: labels, labels: ["", ...classes],
  };
}
