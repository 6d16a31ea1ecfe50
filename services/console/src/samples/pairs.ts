/** What the files of a raw dataset are samples of, by their names: as an inspection takes them
 * (medcoss/preprocess/inspection/masks.py and plan.py, which a test holds this against).
 */

export interface Named {
  path: string;
  size: number;
}

export interface FileSample extends Named {
  kind: "volume" | "image" | "text" | "table";
  split: string;
  label: string | null;
  mask: Named | null;
}

const VOLUME = /\.(nii|nii\.gz|mha|nrrd)$/i;
const IMAGE = /\.(png|jpe?g|tiff?|bmp)$/i;
const TEXT = /\.txt$/i;
const TABLE = /\.(csv|tsv)$/i;
const DICOM = /\.(dcm|dicom)$/i;
const ARCHIVE = /\.(tar\.bz2|tar\.gz|tar\.xz|tbz2|tgz|txz|tar|zip)$/i;
/** What a browser opens as it is; the rest is drawn by an inspection. */
export const isOpenable = (path: string) => /\.(png|jpe?g|bmp|nii|nii\.gz|txt|csv|tsv)$/i.test(path);
export const isPacked = (path: string) => DICOM.test(path) || ARCHIVE.test(path);

const AFTER = /^(.+?)[-_ ](?:mask|masks|label|labels|seg|segmentation|anno|gt)$/i;
const BEFORE = /^mask[-_ ](.+)$/i;
const FOLDERS = /^(?:masks?|labels?|ground[-_ ]?truths?|annotations?|segmentations?)$/i;
const IMAGE_FOLDERS = ["images", "image", "imgs"];
const PUBLISHED = [["laendo", "lgemri"], ["segmentation-", "volume-"]] as const;
const SPLITS: Record<string, string> = {
  train: "train", training: "train", val: "val", valid: "val", validation: "val", validate: "val", dev: "val", test: "test", testing: "test",
};
export const UNSPLIT = "unsplit";

/** A path's folder and the name after it. */
function parted(path: string): [folder: string, name: string] {
  const at = path.lastIndexOf("/");
  return at < 0 ? ["", path] : [path.slice(0, at), path.slice(at + 1)];
}

const stem = (path: string) => (VOLUME.test(path) ? path.replace(/\.(nii\.gz|nii|mha|nrrd)$/i, "") : path.slice(0, path.lastIndexOf(".")));

/** Where the image of a mask would lie, without its ending, likeliest first; nothing when this is no mask. */
function imagesOf(folder: string, name: string): string[] {
  const [above, last] = parted(folder);
  const found: string[] = [];
  if (last === "labelsTr" || last === "labelsTs") found.push(`${folder.replaceAll("labelsT", "imagesT")}/${name}_0000`);
  const bare = (AFTER.exec(name) ?? BEFORE.exec(name))?.[1];
  const beside = (each: string) => (folder ? `${folder}/${each}` : each);
  if (FOLDERS.test(last)) {
    for (const images of IMAGE_FOLDERS) for (const one of bare ? [bare, name] : [name]) found.push(`${above ? `${above}/` : ""}${images}/${one}`);
  }
  if (bare) found.push(beside(bare));
  for (const [mask, image] of PUBLISHED) if (name.toLowerCase().startsWith(mask)) found.push(beside(image + name.slice(mask.length)));
  return found;
}

/** The mask of each image that has one, and what has the name of a mask and no image. */
export function masksOf(paths: readonly string[]): { masks: Map<string, string>; alone: Set<string> } {
  const byStem = new Map(paths.map((path) => [stem(path), path]));
  const lowered = new Map([...byStem].map(([name, path]) => [name.toLowerCase(), path]));
  const masks = new Map<string, string>();
  const alone = new Set<string>();
  for (const [whole, path] of byStem) {
    const [folder, name] = parted(whole);
    const image = imagesOf(folder, name).map((each) => lowered.get(each.toLowerCase())).find((each) => each !== undefined);
    if (image !== undefined && image !== path) masks.set(image, path);
    else if (AFTER.test(name) || BEFORE.test(name) || ["labelsTr", "labelsTs"].includes(parted(folder)[1])) alone.add(path);
  }
  return { masks, alone };
}

function splitOf(path: string): string {
  for (const part of path.split("/").slice(0, -1)) {
    const found = SPLITS[part.toLowerCase().replace(/ set$/, "")];
    if (found) return found;
  }
  return UNSPLIT;
}

function classOf(path: string): string | null {
  const last = path.split("/").at(-2);
  return last === undefined || last.toLowerCase() in SPLITS || IMAGE_FOLDERS.includes(last.toLowerCase()) ? null : last;
}

/** The samples among the files, in the order of their names. */
export function samplesOf(files: readonly Named[]): FileSample[] {
  const byPath = new Map(files.map((each) => [each.path, each]));
  const found: FileSample[] = [];
  for (const [kind, wanted] of [["image", IMAGE], ["volume", VOLUME]] as const) {
    const paths = files.map((each) => each.path).filter((path) => wanted.test(path)).sort();
    const { masks, alone } = masksOf(paths);
    const taken = new Set(masks.values());
    for (const path of paths) {
      if (taken.has(path)) continue;
      const mask = byPath.get(masks.get(path) ?? "") ?? null;
      const label = kind === "image" && !alone.has(path) ? classOf(path) : null;
      found.push({ path, size: byPath.get(path)?.size ?? 0, kind, split: splitOf(path), label, mask });
    }
  }
  for (const [kind, wanted] of [["text", TEXT], ["table", TABLE]] as const) {
    for (const { path, size } of files) if (wanted.test(path)) found.push({ path, size, kind, split: splitOf(path), label: null, mask: null });
  }
  found.sort((a, b) => (a.path < b.path ? -1 : 1));
  return withoutChance(found);
}

/** Folders that hold one image each are patients, say, and no classes; and one class is none. */
function withoutChance(samples: FileSample[]): FileSample[] {
  const isSplit = samples.some((each) => each.split !== UNSPLIT);
  const kept = isSplit ? samples.map((each) => (each.split === UNSPLIT ? { ...each, label: null } : each)) : samples;
  const labels = kept.flatMap((each) => (each.label === null ? [] : [each.label]));
  const many = new Set(labels).size;
  return many < 2 || labels.length < 2 * many ? kept.map((each) => ({ ...each, label: null })) : kept;
}
