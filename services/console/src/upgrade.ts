/** A tab that stays open over an upgrade asks for parts that are gone. It is loaded anew then, and only then: of a platform
 * that does not answer the page would be lost, and one that is as new as the platform would be loaded again and again.
 */
export function reloadAfterUpgrade(): void {
  window.addEventListener("vite:preloadError", () => void reloadIfOld());
}

async function reloadIfOld(): Promise<void> {
  const mine = document.querySelector<HTMLScriptElement>("script[type=module][src]")?.getAttribute("src");
  const answer = await fetch("/console/", { cache: "no-store" }).catch(() => null);
  if (mine && answer?.ok && !(await answer.text()).includes(mine)) window.location.reload();
}
