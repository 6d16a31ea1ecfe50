import { Group, SegmentedControl, Slider, Text } from "@mantine/core";
import { useEffect, useRef, useState } from "react";

import type { Labels } from "./picture";
import { colourOf } from "./planes";

interface Props {
  url: string;
  alt: string;
  mask: Labels | null;
  hidden: ReadonlySet<number>;
  opacity: number;
  /** Told whether the mask is as large as the image, once that is known. */
  fitting: (fits: boolean) => void;
}

const HIGH = "68vh";

/** An image in its own colours with its mask over it; the whole of it, or pixel by pixel. */
export default function Overlay({ url, alt, mask, hidden, opacity, fitting }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState<"fit" | "full">("fit");
  const [brightness, setBrightness] = useState(1);
  const [pixels, setPixels] = useState<readonly [number, number] | null>(null);
  const [isBroken, setBroken] = useState(false);
  const fits = !mask || !pixels || (mask.width === pixels[0] && mask.height === pixels[1]);
  useEffect(() => fitting(fits), [fitting, fits]);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (mask) context?.putImageData(coloured(mask, hidden), 0, 0);
  }, [mask, hidden, fits, pixels]);
  if (isBroken) return <Text size="sm" role="alert">The browser cannot read this image: the file is damaged, or of a kind that it does not know.</Text>;
  const ratio = pixels ? pixels[0] / pixels[1] : 1;
  const width = size === "full" ? pixels?.[0] : `min(100%, calc(${HIGH} * ${ratio.toFixed(4)}))`;
  return (
    <div>
      <div className="overlay" tabIndex={0} role="region" aria-label="The image">
        <div className="both" style={{ aspectRatio: ratio, width }}>
          <img src={url} alt={alt} style={brightness === 1 ? undefined : { filter: `brightness(${brightness})` }} onError={() => setBroken(true)}
            onLoad={({ currentTarget: image }) => setPixels([image.naturalWidth, image.naturalHeight])} />
          {mask && pixels && fits && <canvas ref={canvas} width={mask.width} height={mask.height} style={{ opacity }} role="img" aria-label="its mask" />}
        </div>
      </div>
      {!fits && mask && <Text size="sm" role="alert">Its mask is not shown: it has {mask.width} × {mask.height} pixels, the image {pixels?.join(" × ")}.</Text>}
      <Group mt="xs" gap="md" wrap="nowrap">
        <SegmentedControl size="xs" aria-label="Size of the image" value={size} onChange={(to) => setSize(to as typeof size)}
          data={[{ value: "fit", label: "Whole image" }, { value: "full", label: "Every pixel" }]} />
        <Text size="sm">Brightness</Text>
        <Slider style={{ flexGrow: 1 }} min={0.2} max={8} step={0.1} value={brightness} onChange={setBrightness} thumbLabel="Brightness of the image"
          label={(value) => `${value.toFixed(1)} ×`} />
      </Group>
      {pixels && <Text size="xs" c="dimmed" mt={4}>{pixels.join(" × ")} pixels</Text>}
    </div>
  );
}

function coloured({ width, height, data }: Labels, hidden: ReadonlySet<number>): ImageData {
  const image = new ImageData(width, height);
  for (let at = 0; at < data.length; at += 1) {
    const label = data[at] ?? 0;
    if (!label || hidden.has(label)) continue;
    image.data.set(colourOf(label), 4 * at);
    image.data[4 * at + 3] = 255;
  }
  return image;
}
