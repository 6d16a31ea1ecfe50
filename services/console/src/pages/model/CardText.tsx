import { Button, Stack } from "@mantine/core";
import { IconDownload } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { cardQuery } from "../../api/models";
import { Failure } from "../../components/Failure";

/** The model card as a page; it is kept as Markdown. */
export function CardText({ id }: { id: string }) {
  const found = useQuery(cardQuery(id));
  const text = found.data?.markdown ?? "";
  const blocks = useMemo(() => blocksOf(text), [text]);
  if (found.error) return <Failure error={found.error} />;
  return (
    <Stack gap="xs" align="flex-start">
      <Button component="a" variant="default" size="xs" download={`${id}.md`} leftSection={<IconDownload size={16} aria-hidden />}
        href={`data:text/markdown;charset=utf-8,${encodeURIComponent(text)}`}>Markdown</Button>
      <article className="card-text" aria-label="Model card">{blocks.map((block, at) => <Block key={at} lines={block} />)}</article>
    </Stack>
  );
}

/** Lines that belong together: a table, a list, a paragraph, a heading. */
function blocksOf(text: string): string[][] {
  const kind = (line: string) => (line.startsWith("|") ? "table" : /^\s*[-*] /.test(line) ? "list" : line.startsWith("#") ? "heading" : "text");
  const blocks: string[][] = [];
  let last = "";
  for (const line of text.split("\n")) {
    const is = line.trim() ? kind(line) : "";
    if (is && is === last && is !== "heading") blocks.at(-1)?.push(line);
    else if (is) blocks.push([line]);
    last = is;
  }
  return blocks;
}

const cellsOf = (line: string) => line.replace(/^\||\|$/g, "").split("|").map((each) => each.trim());

function Block({ lines }: { lines: string[] }) {
  const first = lines[0] ?? "";
  const depth = /^#+/.exec(first)?.[0].length ?? 0;
  if (depth) return depth < 3 ? <h2>{first.slice(depth)}</h2> : <h3>{first.slice(depth)}</h3>;
  if (first.startsWith("|")) {
    const [head, ...rest] = lines.filter((line) => !/^[|\s:-]+$/.test(line));
    return (
      <div className="card-table" tabIndex={0} role="region" aria-label={`Table: ${cellsOf(head ?? "").join(", ")}`}>
        <table>
          <thead><tr>{cellsOf(head ?? "").map((each, at) => <th scope="col" key={at}><Inline text={each} /></th>)}</tr></thead>
          <tbody>{rest.map((line, row) => <tr key={row}>{cellsOf(line).map((each, at) => <td key={at}><Inline text={each} /></td>)}</tr>)}</tbody>
        </table>
      </div>
    );
  }
  if (/^\s*[-*] /.test(first)) return <ul>{lines.map((line, at) => <li key={at}><Inline text={line.replace(/^\s*[-*] /, "")} /></li>)}</ul>;
  return <p><Inline text={lines.join(" ")} /></p>;
}

function Inline({ text }: { text: string }) {
  return (
    <>
      {text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part, at) =>
        part.startsWith("`") ? <code key={at}>{part.slice(1, -1)}</code> : part.startsWith("**") ? <b key={at}>{part.slice(2, -2)}</b> : part)}
    </>
  );
}
