// chat_theme - light or dark as chosen on this device, before the first paint: a plain script in
// the head, for a module would run only after the page had been shown in the other one.

document.documentElement.dataset.theme = localStorage.getItem('chatmesh.theme') ?? 'system';
