// Fetches the page anew while somebody looks at it; says so when the daemon does not answer.
setInterval(async () => {
  if (document.hidden) return;
  try {
    const text = await (await fetch(location.href)).text();
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const part of ["main", "header"]) document.querySelector(part).replaceWith(fresh.querySelector(part));
    document.title = fresh.title;
  } catch {
    document.querySelector(".at").textContent = "kubestrata does not answer";
  }
}, 5000);
