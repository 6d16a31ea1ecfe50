/** NIfTI-1 volumes as the viewer wants them: on axes nearest to right, anterior, superior (RAS+).
 * The format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
 */

export interface Volume {
  /** Voxels from left to right, from back to front, from feet to head. */
  size: [number, number, number];
  /** Distances of voxels in mm. */
  spacing: [number, number, number];
  /** x runs fastest, then y, then z. */
  data: Float32Array | Uint8Array | Uint16Array;
  /** An image: nobody knows what lies at its sides. */
  isFlat?: boolean;
  /** The file does not say how it lies in the patient: sides are not known, and the planes are those of the file. */
  isUnplaced?: boolean;
  /** By how many degrees its axes are turned away from those of the patient. */
  tilt?: number;
  /** How many volumes the file holds, of which this is the first. */
  of?: number;
  /** Voxels that are infinite or no number. */
  notFinite?: number;
}

export class Unreadable extends Error {}

type Row = [number, number, number];
const HEADER = 348;
const HEADER_2 = 540;
/** What a label may be at most: FreeSurfer's go beyond 255. */
const MOST_LABEL = 65_535;
/** How far a label may be from a whole number, as it is scaled. */
const ROUNDED = 1e-3;

async function unpacked(bytes: ArrayBuffer): Promise<ArrayBuffer> {
  const head = new Uint8Array(bytes, 0, 2);
  if (head[0] !== 0x1f || head[1] !== 0x8b) return bytes;
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

export function isNifti(name: string): boolean {
  return /\.nii(\.gz)?$/i.test(name);
}

/** Read the first volume of a file; with `labels` its values have to be labels. Raises Unreadable with the reason. */
export async function readNifti(bytes: ArrayBuffer, labels = false): Promise<Volume> {
  const content = await unpacked(bytes).catch(() => { throw new Unreadable("the file is damaged: it cannot be unpacked"); });
  if (content.byteLength < HEADER) throw new Unreadable("it is no NIfTI file: it is shorter than a NIfTI header");
  const view = new DataView(content);
  const little = view.getInt32(0, true) === HEADER;
  if (!little && view.getInt32(0, false) !== HEADER) {
    const isSecond = [true, false].some((order) => view.getInt32(0, order) === HEADER_2);
    throw new Unreadable(isSecond ? "it is a NIfTI-2 file; the viewer reads NIfTI-1" : "it is no NIfTI-1 file");
  }
  const short = (at: number) => view.getInt16(at, little);
  const float = (at: number) => view.getFloat32(at, little);
  const dims: Row = [short(42), Math.max(1, short(44)), Math.max(1, short(46))];
  if (short(40) < 2 || dims.some((each) => each < 1)) throw new Unreadable("the file holds no volume");
  const read = reader(view, short(70), little);
  const start = Math.max(HEADER, Math.round(float(108)));
  const count = dims[0] * dims[1] * dims[2];
  if (start + count * read.bytes > content.byteLength) throw new Unreadable("the file ends before its last voxel");
  const slope = float(112) || 1;
  const offset = Number.isFinite(float(116)) ? float(116) : 0;
  const { axes, flips, spacing, tilt } = orientation(view, little);
  const isUnplaced = short(252) <= 0 && short(254) <= 0;
  const of = [48, 50, 52, 54].slice(0, Math.max(0, short(40) - 3)).reduce((product, at) => product * Math.max(1, short(at)), 1);
  const size = axes.map((axis) => dims[axis]) as Row;
  const strides = [1, dims[0], dims[0] * dims[1]] as Row;
  const data = labels ? new Uint16Array(count) : new Float32Array(count);
  let notFinite = 0;
  const step = axes.map((axis, at) => (flips[at] ? -1 : 1) * (strides[axis] ?? 0)) as Row;
  const first = axes.reduce<number>((sum, axis, at) => sum + (flips[at] ? ((dims[axis] ?? 1) - 1) * (strides[axis] ?? 0) : 0), 0);
  let to = 0;
  for (let z = 0; z < size[2]; z += 1) {
    for (let y = 0; y < size[1]; y += 1) {
      let from = first + z * step[2] + y * step[1];
      for (let x = 0; x < size[0]; x += 1, from += step[0]) {
        const value = read.at(start + from * read.bytes) * slope + offset;
        if (labels) data[to++] = label(value);
        else {
          if (!Number.isFinite(value)) notFinite += 1;
          data[to++] = value;
        }
      }
    }
  }
  return { size, spacing, data, isUnplaced, tilt, of, notFinite };
}

function label(value: number): number {
  const whole = Math.round(value);
  if (!(Math.abs(value - whole) <= ROUNDED) || whole < 0 || whole > MOST_LABEL) throw new Unreadable("it holds fractions, negative numbers or labels above 65,535");
  return whole;
}

const OTHER_TYPES: Record<number, string> = {
  1: "single bits", 32: "complex numbers", 128: "colours (RGB)", 1536: "fractions of 128 bits", 1792: "complex numbers", 2048: "complex numbers", 2304: "colours (RGBA)",
};

function reader(view: DataView, type: number, little: boolean): { bytes: number; at: (offset: number) => number } {
  switch (type) {
    case 2: return { bytes: 1, at: (offset) => view.getUint8(offset) };
    case 4: return { bytes: 2, at: (offset) => view.getInt16(offset, little) };
    case 8: return { bytes: 4, at: (offset) => view.getInt32(offset, little) };
    case 16: return { bytes: 4, at: (offset) => view.getFloat32(offset, little) };
    case 64: return { bytes: 8, at: (offset) => view.getFloat64(offset, little) };
    case 256: return { bytes: 1, at: (offset) => view.getInt8(offset) };
    case 512: return { bytes: 2, at: (offset) => view.getUint16(offset, little) };
    case 768: return { bytes: 4, at: (offset) => view.getUint32(offset, little) };
    case 1024: return { bytes: 8, at: (offset) => Number(view.getBigInt64(offset, little)) };
    case 1280: return { bytes: 8, at: (offset) => Number(view.getBigUint64(offset, little)) };
    default: throw new Unreadable(`the viewer reads whole numbers and fractions, and the voxels of this file are ${OTHER_TYPES[type] ?? `of the NIfTI type ${type}`}`);
  }
}

/** Which axis of the file is nearest to right, anterior and superior, and which of them run the other way. */
function orientation(view: DataView, little: boolean): { axes: Row; flips: [boolean, boolean, boolean]; spacing: Row; tilt: number } {
  const rows = affine(view, little);
  const best = { axes: [0, 1, 2] as Row, score: -1 };
  for (const axes of [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] as Row[]) {
    // as a share of the axis's length, or a coarse axis would win
    const score = axes.reduce<number>((sum, axis, world) => sum + Math.abs(rows[world]?.[axis] ?? 0) / length(rows, axis), 0);
    if (score > best.score) Object.assign(best, { axes, score });
  }
  const flips = best.axes.map((axis, world) => (rows[world]?.[axis] ?? 0) < 0) as [boolean, boolean, boolean];
  const turned = best.axes.map((axis, world) => Math.acos(Math.min(1, Math.abs(rows[world]?.[axis] ?? 0) / length(rows, axis))));
  return { axes: best.axes, flips, spacing: best.axes.map((axis) => length(rows, axis)) as Row, tilt: (Math.max(...turned) * 180) / Math.PI };
}

const length = (rows: readonly Row[], axis: number) => Math.hypot(...rows.map((row) => row[axis] ?? 0)) || 1;

function affine(view: DataView, little: boolean): [Row, Row, Row] {
  const float = (at: number) => view.getFloat32(at, little);
  if (view.getInt16(254, little) > 0) {
    return [280, 296, 312].map((at) => [float(at), float(at + 4), float(at + 8)]) as [Row, Row, Row];
  }
  const spacing = [float(80), float(84), float(88)] as Row;
  if (view.getInt16(252, little) <= 0) return [[spacing[0], 0, 0], [0, spacing[1], 0], [0, 0, spacing[2]]];
  const [b, c, d] = [float(256), float(260), float(264)] as Row;
  const a = Math.sqrt(Math.max(0, 1 - b * b - c * c - d * d));
  const last = (float(76) < 0 ? -1 : 1) * spacing[2];
  const turned: [Row, Row, Row] = [
    [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
    [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
    [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
  ];
  return turned.map((row) => [row[0] * spacing[0], row[1] * spacing[1], row[2] * last]) as [Row, Row, Row];
}
