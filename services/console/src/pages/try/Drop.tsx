import { Button, Group, Text, Textarea } from "@mantine/core";
import { useState } from "react";

import type { Given, Served } from "../../api/gateway";

const WORDS: Record<Served["kind"], string> = {
  image2d: "an image: PNG, JPEG, TIFF or DICOM",
  volume3d: "a volume: NIfTI, NRRD, MHA, or a DICOM series as a zip archive",
  text: "a text",
};

/** Takes a file that is dropped or chosen; of a model of texts, what is typed. */
export function Drop({ kind, given, busy }: { kind: Served["kind"]; given: (what: Given) => void; busy: boolean }) {
  const [over, setOver] = useState(false);
  const [typed, setTyped] = useState("");
  if (kind === "text") {
    return (
      <form onSubmit={(event) => { event.preventDefault(); if (typed.trim()) given(typed.trim()); }}>
        <Textarea label="Text" minRows={4} autosize value={typed} onChange={(event) => setTyped(event.currentTarget.value)}
          placeholder="No focal consolidation. Heart size is normal." />
        <Group mt="xs"><Button type="submit" loading={busy} disabled={!typed.trim()}>Ask</Button></Group>
      </form>
    );
  }
  const take = (files: FileList | null) => {
    const file = files?.[0];
    if (file) given(file);
  };
  return (
    <label className="drop" data-over={over} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)}
      onDrop={(event) => { event.preventDefault(); setOver(false); take(event.dataTransfer.files); }}>
      <Text fw={600}>Drop {WORDS[kind]}</Text>
      <Text size="sm" c="dimmed">or press to choose one. It is sent to the platform&apos;s gateway alone, and is not kept there.</Text>
      <input type="file" aria-label="File" onChange={(event) => { take(event.currentTarget.files); event.currentTarget.value = ""; }} />
    </label>
  );
}
