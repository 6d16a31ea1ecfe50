import { Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import type { Nearest } from "../../api/gateway";
import { homesQuery } from "../../api/homes";
import { HomeLink, Study } from "../../components/Study";
import { number } from "../../format";
import { took } from "./Classes";

/** The studies of an index that are nearest, the nearest first. */
export function Neighbours({ found }: { found: Nearest }) {
  const homes = useQuery(homesQuery([...new Set(found.items.map((each) => each.dataset))].sort())).data;
  return (
    <>
      <div className="scroll" tabIndex={0} role="region" aria-label="Nearest studies">
        <table className="rows">
          <thead>
            <tr>
              <th scope="col" className="num">Cosine</th><th scope="col">Study</th><th scope="col">Label</th><th scope="col">Split</th>
              <th scope="col">Modality</th><th scope="col">Dataset</th>
            </tr>
          </thead>
          <tbody>
            {found.items.map((each) => (
              <tr key={`${each.dataset} ${each.sample}`}>
                <td className="num">{number(each.score)}</td><td className="one" title={each.source}><Study home={homes?.get(each.dataset)} source={each.source} sample={each.sample} /></td>
                <td>{each.label || "–"}</td><td>{each.split}</td><td>{each.modality}</td><td className="one"><HomeLink home={homes?.get(each.dataset)} id={each.dataset} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Text size="xs" c="dimmed" mt={4}>{found.search} search among {found.among.toLocaleString("en-GB")} studies, {took(found.timing_ms)}</Text>
    </>
  );
}
