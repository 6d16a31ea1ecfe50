/** The files of a folder that was dropped or picked. */

export interface Found {
  /** Path inside the dataset: that inside the folder. */
  path: string;
  file: File;
}

export interface Folder {
  name: string;
  files: Found[];
}

const ARCHIVE = /\.(zip|tar|tgz|tar\.(gz|bz2|xz))$/i;
const DICOM_NAME = /\.(dcm|dicom|ima)$/i;
// what has such a name is looked for no DICOM header
const OTHER_NAME = /\.(png|jpe?g|tiff?|bmp|nii|gz|nrrd|mha|mhd|h5|hdf5|csv|tsv|txt|json|ya?ml|md|zip|tar|tgz|bz2|xz|parquet|svs|ndpi|xml|pdf)$/i;

const isHidden = (path: string) => path.split("/").some((part) => part.startsWith("."));

function sorted(name: string, files: Found[]): Folder {
  const shown = files.filter((each) => !isHidden(each.path));
  return { name, files: shown.sort((a, b) => (a.path < b.path ? -1 : 1)) };
}

/** What an input for folders, or one for files, was given. */
export function picked(list: FileList): Folder {
  const files = [...list].map((file) => {
    const parts = (file.webkitRelativePath || file.name).split("/");
    return { path: parts.slice(parts.length > 1 ? 1 : 0).join("/"), file };
  });
  const folder = list[0]?.webkitRelativePath.split("/")[0];
  return sorted(folder || list[0]?.name.replace(/\..*$/, "") || "", files);
}

/** What was dropped: one folder whose files are meant, or several things that are. */
export async function dropped(transfer: DataTransfer): Promise<Folder> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const only = entries.length === 1 ? entries[0] : undefined;
  const found: Found[] = [];
  if (only?.isDirectory) await walk(only as FileSystemDirectoryEntry, "", found);
  else for (const entry of entries) await visit(entry, "", found);
  return sorted(only?.name.replace(/\..*$/, "") ?? "dataset", found);
}

async function walk(folder: FileSystemDirectoryEntry, prefix: string, found: Found[]): Promise<void> {
  const reader = folder.createReader();
  for (;;) {
    // it gives a hundred at a time, and none at the end
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const entry of some) await visit(entry, prefix, found);
  }
}

async function visit(entry: FileSystemEntry, prefix: string, found: Found[]): Promise<void> {
  const path = prefix ? `${prefix}/${entry.name}` : entry.name;
  if (entry.isDirectory) return walk(entry as FileSystemDirectoryEntry, path, found);
  const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
  found.push({ path, file });
}

/** Whether a file is DICOM: by its name, or, where that says nothing, by the letters DICM at byte 128. */
export async function isDicom({ path, file }: Found): Promise<boolean> {
  if (DICOM_NAME.test(path) || /(^|\/)DICOMDIR$/i.test(path)) return true;
  if (OTHER_NAME.test(path)) return false;
  return (await file.slice(128, 132).text()) === "DICM";
}

export const isArchive = ({ path }: Found) => ARCHIVE.test(path);
