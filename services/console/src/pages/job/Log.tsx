import { Checkbox, Group, Select, Text, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useDeferredValue, useEffect, useRef, useState } from "react";

import type { Reports } from "../../api/live";
import { moment } from "../../format";

const SHOWN = 2000;
const LEVELS = ["debug", "info", "warning", "error"];
const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

function Marked({ text, wanted }: { text: string; wanted: string }) {
  const at = wanted ? text.toLowerCase().indexOf(wanted.toLowerCase()) : -1;
  if (at < 0) return <>{text}</>;
  return <>{text.slice(0, at)}<mark>{text.slice(at, at + wanted.length)}</mark>{text.slice(at + wanted.length)}</>;
}

/** The last lines of the log as they come, and the search in them. */
export function Log({ reports, over }: { reports: Reports; over: boolean }) {
  const [typed, setTyped] = useState("");
  const [level, setLevel] = useState("debug");
  const [follow, setFollow] = useState(true);
  const wanted = useDeferredValue(typed.trim());
  const box = useRef<HTMLPreElement>(null);
  const found = reports.logs.filter(
    (line) => LEVELS.indexOf(line.level) >= LEVELS.indexOf(level) && (!wanted || line.message.toLowerCase().includes(wanted.toLowerCase())),
  );
  const shown = found.slice(-SHOWN);
  const last = shown.at(-1)?.seq;
  useEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [follow, last]);
  const left = reports.dropped ? `; ${reports.dropped.toLocaleString("en-GB")} earlier ones are not kept here` : "";
  return (
    <>
      <Group mb="sm" align="flex-end">
        <TextInput label="Search the log" value={typed} onChange={(event) => setTyped(event.currentTarget.value)} w={280}
          leftSection={<IconSearch size={16} aria-hidden />} />
        <Select label="Level" data={LEVELS.map((each) => ({ value: each, label: each === "debug" ? "all" : `${each} and above` }))}
          value={level} allowDeselect={false} onChange={(to) => setLevel(to ?? "debug")} w={180} />
        <Checkbox label="Follow the end" checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} mb={8} />
        <Text size="sm" c="dimmed" mb={8} role="status">
          {found.length.toLocaleString("en-GB")} {found.length === 1 ? "line" : "lines"}{found.length > SHOWN ? `, the last ${SHOWN} shown` : ""}{left}
        </Text>
      </Group>
      <pre ref={box} className="log scroll" tabIndex={0} role="region" aria-label="Log">
        {shown.map((line) => (
          <div key={line.seq} className={line.level}>
            <time dateTime={line.at} title={`${moment(line.at)}, attempt ${line.attempt}`}>{CLOCK.format(new Date(line.at))}</time>
            {line.level === "error" || line.level === "warning" ? `${line.level}: ` : ""}
            <Marked text={line.message} wanted={wanted} />
          </div>
        ))}
        {shown.length === 0 && <div>{reports.logs.length ? "No line is like that." : over ? "It has written nothing." : "Nothing written yet."}</div>}
      </pre>
    </>
  );
}
