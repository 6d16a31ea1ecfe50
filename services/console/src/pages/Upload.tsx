import "../forms/forms.css";
import "../upload/upload.css";

import { Alert, Breadcrumbs, Button, Card, Code, FileButton, Group, Progress, Radio, Select, Stack, Text, Textarea, TextInput, Title } from "@mantine/core";
import { IconAlertTriangle, IconFolderUp } from "@tabler/icons-react";
import { useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";

import { Failure } from "../components/Failure";
import { quoted } from "../forms/Lines";
import { bytes, number, percent } from "../format";
import { MODALITIES } from "../router";
import { Heading } from "../Shell";
import { dropped, type Folder, type Found, isArchive, isDicom, picked } from "../upload/files";
import { type About, Sending, type Sent } from "../upload/sending";

type Choice = "leave" | "send";
interface Chosen extends Folder {
  dicom: ReadonlySet<Found>;
}

/** The name of a folder as one of a dataset. */
const nameOf = (folder: string) => folder.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 63);

async function looked(folder: Folder): Promise<Chosen> {
  const dicom = new Set<Found>();
  for (const each of folder.files) if (await isDicom(each)) dicom.add(each);
  return { ...folder, dicom };
}

export default function Upload() {
  const { project } = useSearch({ from: "/datasets/upload" });
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const [choice, setChoice] = useState<Choice | null>(null);
  const [about, setAbout] = useState<About>({ name: "" });
  const [problem, setProblem] = useState<unknown>(null);
  const { now, send, stop } = useSending(setProblem);
  const take = async (folder: Promise<Folder>) => {
    setProblem(null);
    setChoice(null);
    try {
      const found = await looked(await folder);
      setChosen(found);
      // a name that was typed stays, one that came of another folder does not
      setAbout((old) => ({ ...old, name: old.name && old.name !== nameOf(chosen?.name ?? "") ? old.name : nameOf(found.name) }));
    } catch (error) {
      setProblem(error);
    }
  };
  const files = chosen?.files.filter((each) => choice === "send" || !chosen.dicom.has(each)) ?? [];
  const isReady = files.length > 0 && about.name.trim() !== "" && (!chosen?.dicom.size || choice !== null);
  return (
    <>
      <Breadcrumbs mb="xs"><Link className="link" to="/datasets">Datasets</Link><Text size="sm" c="dimmed">upload</Text></Breadcrumbs>
      <Heading>Upload a dataset</Heading>
      <Stack maw={860}>
        <Drop busy={now !== null} take={(folder) => void take(folder)} />
        {chosen && <Summary chosen={chosen} files={choice === null ? chosen.files : files} />}
        {chosen && chosen.dicom.size > 0 && <Identity chosen={chosen} choice={choice} set={setChoice} about={about} />}
        <Card withBorder>
          <div className="fields">
            <TextInput label="Name" withAsterisk description="the same name and folder go on with an unfinished upload" value={about.name} disabled={now !== null} maxLength={63}
              onChange={(event) => setAbout({ ...about, name: event.currentTarget.value })} />
            <Select label="Modality" description="what the files show" data={[...MODALITIES]} clearable placeholder="not said" value={about.modality ?? null} disabled={now !== null}
              clearButtonProps={{ "aria-label": "Clear" }} onChange={(modality) => setAbout({ ...about, modality: modality ?? undefined })} />
            <Textarea label="Description" description="for people" autosize minRows={1} value={about.description ?? ""} disabled={now !== null}
              onChange={(event) => setAbout({ ...about, description: event.currentTarget.value || undefined })} />
          </div>
        </Card>
        {problem != null && <Failure error={problem} />}
        {now && <Bar now={now} files={files.length} />}
        <Group>
          <Button size="md" disabled={!isReady} loading={now !== null} onClick={() => send(files, { ...about, name: about.name.trim(), project })}>Upload</Button>
          {now && <Button size="md" variant="default" onClick={stop}>Stop</Button>}
        </Group>
      </Stack>
    </>
  );
}

/** An upload that runs as long as the page is shown; when it ends, the dataset is. */
function useSending(failed: (error: unknown) => void) {
  const navigate = useNavigate();
  const queries = useQueryClient();
  const [now, setNow] = useState<Sent | null>(null);
  const running = useRef<Sending>(undefined);
  useEffect(() => () => running.current?.end(), []);
  useEffect(() => {
    // closing the tab would end it
    if (!now) return undefined;
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener("beforeunload", ask);
    return () => window.removeEventListener("beforeunload", ask);
  }, [now]);
  const send = async (files: readonly Found[], about: About) => {
    failed(null);
    let last = 0;
    running.current = new Sending(files, about, (sent) => {
      // more often than the eye sees, it is not drawn
      if (sent.phase === "finishing" || performance.now() - last > 80) {
        last = performance.now();
        setNow(sent);
      }
    });
    setNow({ phase: "reading", bytes: 0, total: 1, kept: 0, files: 0 });
    try {
      const made = await running.current.run();
      void queries.invalidateQueries({ queryKey: ["datasets"] });
      setNow(null);
      void navigate({ to: "/datasets/$id", params: { id: made.id } });
    } catch (error) {
      setNow(null);
      failed(error);
    }
  };
  return { now, send: (files: readonly Found[], about: About) => void send(files, about), stop: () => running.current?.end() };
}

function Drop({ busy, take }: { busy: boolean; take: (folder: Promise<Folder>) => void }) {
  const [over, setOver] = useState(false);
  return (
    <section
      className="drop" aria-label="Files to upload" data-over={over}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        if (!busy) take(dropped(event.dataTransfer));
      }}
    >
      <IconFolderUp size={40} stroke={1.4} aria-hidden />
      <Text fw={600}>Drop a folder here, or choose one</Text>
      <Group justify="center">
        <FileButton onChange={(files) => files.length && take(Promise.resolve(picked(listOf(files))))} multiple inputProps={{ webkitdirectory: "", "aria-label": "Folder to upload" } as never}>
          {(props) => <Button {...props} disabled={busy}>Choose a folder</Button>}
        </FileButton>
        <FileButton onChange={(files) => files.length && take(Promise.resolve(picked(listOf(files))))} multiple inputProps={{ "aria-label": "Files to upload" }}>
          {(props) => <Button {...props} variant="default" disabled={busy}>Choose files</Button>}
        </FileButton>
      </Group>
      <Text size="sm" c="dimmed" maw={640} ta="center">
        The console sends files as they are: <b>it de-identifies nothing</b>. DICOM files with patients go by <Code>medcoss datasets upload FOLDER</Code>, which
        takes identities out before anything is sent. Names of files, and text within pixels, are kept either way.
      </Text>
    </section>
  );
}

const listOf = (files: File[]): FileList => files as unknown as FileList;

function Summary({ chosen, files }: { chosen: Chosen; files: readonly Found[] }) {
  const archives = files.filter(isArchive).length;
  const kinds = new Map<string, number>();
  for (const { path } of files) {
    const kind = /\.[A-Za-z0-9]+(\.gz)?$/.exec(path)?.[0].toLowerCase() ?? "no suffix";
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  const size = files.reduce((sum, each) => sum + each.file.size, 0);
  return (
    <Card withBorder component="section" aria-label="What was chosen">
      <Text fw={600}>{chosen.name}: {number(files.length)} {files.length === 1 ? "file" : "files"}, {bytes(size)}</Text>
      <Text size="sm" c="dimmed">{[...kinds].sort((a, b) => b[1] - a[1]).slice(0, 8).map(([kind, count]) => `${number(count)} ${kind}`).join(", ")}</Text>
      {chosen.files.length === 0 && <Text size="sm">It holds no file that is not hidden.</Text>}
      {archives > 0 && <Text size="sm" mt={4}>Nobody looks into {archives === 1 ? "the archive" : `the ${archives} archives`} for DICOM files: make sure that no identity is in there.</Text>}
    </Card>
  );
}

interface IdentityProps {
  chosen: Chosen;
  choice: Choice | null;
  set: (choice: Choice) => void;
  about: About;
}

/** DICOM files are not sent before somebody has said that they may be. */
function Identity({ chosen, choice, set, about }: IdentityProps) {
  const count = chosen.dicom.size;
  const command = `medcoss datasets upload ${quoted(chosen.name || "FOLDER")} --name ${about.name || "NAME"}${about.modality ? ` --modality ${about.modality}` : ""}`;
  return (
    <Alert color="orange" variant="light" icon={<IconAlertTriangle aria-hidden />} title={`${number(count)} DICOM ${count === 1 ? "file" : "files"}: who is in ${count === 1 ? "it" : "them"}?`}>
      <Text size="sm" mb="xs">
        DICOM headers name patients, and the console sends them as they are. The command line takes identities out first and keeps patients apart by pseudonyms:
      </Text>
      <Code block mb="sm">{command}</Code>
      <Radio.Group label="What the console does with them" value={choice ?? ""} onChange={(now) => set(now as Choice)}>
        <Stack gap="xs" mt={6}>
          <Radio value="leave" label="Leave them out" disabled={count === chosen.files.length} />
          <Radio value="send" label="Send them as they are: they hold no identity, or this platform may hold it" />
        </Stack>
      </Radio.Group>
    </Alert>
  );
}

function Bar({ now, files }: { now: Sent; files: number }) {
  const share = now.total ? now.bytes / now.total : 1;
  const words = now.phase === "reading" ? "reading and hashing" : now.phase === "sending" ? "sending" : "finishing";
  return (
    <Card withBorder component="section" aria-label="Progress of the upload">
      <Title order={2} size="h5" mb={6}>{words}</Title>
      <Progress.Root size="lg"><Progress.Section value={100 * Math.min(1, share)} aria-label={`${words}, progress`} /></Progress.Root>
      <Text size="sm" mt={6}>
        {percent(Math.min(1, share))}: {bytes(Math.min(now.bytes, now.total))} of {bytes(now.total)}, {number(now.files)} of {number(files)} files
        {now.kept > 0 ? `; ${bytes(now.kept)} were there already` : ""}
      </Text>
      <Text size="xs" c="dimmed">It goes on while this page is shown. After a break, choose the same folder again: what has arrived is not sent twice.</Text>
    </Card>
  );
}
