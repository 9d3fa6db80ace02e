// Adds the reader's own time to every instant that is shown in another zone. All else works without it.
"use strict";
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const here = new Intl.DateTimeFormat(undefined, {dateStyle: "short", timeStyle: "short", timeZone: zone});
  const tell = root => {
    for (const time of root.querySelectorAll("time[datetime]:not([title])"))
      time.title = `${here.format(new Date(time.dateTime))} ${zone}`;
  };
  tell(document);
  document.addEventListener("htmx:afterSettle", () => tell(document));
})();
