//! `wharf scan ble`: who is on the air, and what do they say? It only listens.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use wharf_ble::LinkSettings;
use wharf_ble::config::{Adapter, Scan};
use wharf_ble::survey::Survey;
use wharf_contract::settings::{Period, suggestion};

use super::heard;
use crate::cli::advert::descriptions;
use crate::cli::exit::{self, Exit};
use crate::cli::field::form::{decode, plain, wrong};
use crate::cli::field::show::is_for_people;
use crate::cli::field::target::AtSite;
use crate::config;

/// How often the table is drawn anew, and a gateway asked.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
pub struct BleArgs {
    /// The site file: its gateway is asked if it runs, else its adapter and its keys are used
    #[arg(value_name = "SITE")]
    site: Option<String>,
    /// The link of the site file; not needed if it has only one for Bluetooth
    #[arg(value_name = "LINK")]
    link: Option<String>,
    /// The adapter: hci0, or its address [default: the first one]
    #[arg(long, value_name = "ADAPTER", conflicts_with = "site")]
    adapter: Option<String>,
    /// Only listen, and ask no sensor for the rest of what it has to say
    #[arg(long, conflicts_with = "site")]
    passive: bool,
    /// How long to listen
    #[arg(long = "for", value_name = "TIME", default_value = "20s")]
    time: String,
    /// Show those as well that no format reads
    #[arg(long)]
    all: bool,
    /// Where the gateway's state is, if that is not what the site file says
    #[arg(long, value_name = "DIR", requires = "site")]
    state_dir: Option<PathBuf>,
    /// Print a JSON object a line, also on a terminal
    #[arg(long)]
    json: bool,
}

/// Listens, and prints who was heard; also when it is interrupted.
pub async fn run(args: &BleArgs, stop: CancellationToken) -> Result<(), Exit> {
    let time: Period<1_000, 86_400_000> = decode(&plain(&args.time))?;
    let mut source = Source::of(args)?;
    let live = is_for_people(args.json) && std::io::stdout().is_terminal();
    let until = Instant::now() + time.get();
    let mut heard = Json::Null;
    let mut trouble = None;
    while !stop.is_cancelled() && Instant::now() < until {
        match source.look(EVERY).await {
            Ok(seen) => (heard, trouble) = (seen.heard, seen.trouble),
            Err(exit) => {
                source.stop().await;
                return Err(exit);
            }
        }
        if live {
            let seen = heard::human(&heard, args.all);
            draw(&format!("listening: {}\n\n{seen}", trouble.as_deref().unwrap_or("scanning")));
        }
    }
    let link = source.link().to_owned();
    source.stop().await;
    let senders = heard["heard"].as_array().map_or(&[][..], Vec::as_slice);
    if live {
        draw("");
    }
    if senders.is_empty() {
        let why = trouble.unwrap_or_else(|| "nothing was heard".into());
        exit::complain(&format_args!("wharf: {why}; `wharf doctor` looks for the reason"));
        return Err(Exit::FAILED);
    }
    if is_for_people(args.json) {
        let stanza = heard::stanza(&heard, &link);
        return crate::cli::say(format!("{}\n{stanza}", heard::human(&heard, args.all)).trim_end());
    }
    senders
        .iter()
        .filter(|sender| args.all || heard::is_of_interest(sender))
        .try_for_each(|sender| crate::cli::say(&sender.to_string()))
}

/// Who listens: the gateway, or we.
enum Source {
    Gateway { at_site: Box<AtSite>, link: String },
    Own { survey: Box<Survey>, link: String },
}

/// What is to be seen at a moment.
struct Seen {
    heard: Json,
    /// Why nothing can be heard.
    trouble: Option<String>,
}

impl Source {
    fn of(args: &BleArgs) -> Result<Self, Exit> {
        let Some(file) = &args.site else {
            let adapter = match &args.adapter {
                Some(text) => Some(
                    Adapter::parse(text)
                        .ok_or_else(|| wrong(&format!("`{text}` is no adapter: hci0, or its address")))?,
                ),
                None => None,
            };
            let scan = if args.passive { Scan::Passive } else { Scan::Active };
            let descriptions = descriptions()?;
            return Self::own(&LinkSettings { adapter, scan, descriptions, ..LinkSettings::default() }, "hall");
        };
        let at_site = AtSite::open(file, args.state_dir.clone())?;
        let links: Vec<&str> = at_site.site.ble.iter().map(|(name, _)| name.as_str()).collect();
        let link = match (&args.link, links.as_slice()) {
            (Some(name), known) if known.contains(&name.as_str()) => name.clone(),
            (Some(name), known) => {
                let help = suggestion(name, known);
                return Err(wrong(&format!("there is no Bluetooth link `{name}` in the site file; {help}")));
            }
            (None, [only]) => (*only).to_owned(),
            (None, []) => {
                return Err(wrong("the site file has no Bluetooth link; leave it out to use the first adapter"));
            }
            (None, several) => return Err(wrong(&format!("which link? the site file has {}", several.join(", ")))),
        };
        if at_site.is_held(&link) {
            return Ok(Self::Gateway { at_site: Box::new(at_site), link });
        }
        // Its keys are needed to read what is encrypted.
        let site = config::load(std::path::Path::new(file)).map_err(|errors| {
            exit::complain(&errors);
            Exit::SITE_FILE
        })?;
        let settings = site.ble.get(&link).cloned().unwrap_or_default();
        Self::own(&settings, &link)
    }

    fn own(settings: &LinkSettings, link: &str) -> Result<Self, Exit> {
        let survey = Survey::start(settings).map_err(|error| Exit::failure(&error.into()))?;
        Ok(Self::Own { survey: Box::new(survey), link: link.to_owned() })
    }

    fn link(&self) -> &str {
        match self {
            Self::Gateway { link, .. } | Self::Own { link, .. } => link,
        }
    }

    /// Listens for so long, and tells what was heard until then.
    async fn look(&mut self, time: Duration) -> Result<Seen, Exit> {
        match self {
            Self::Gateway { at_site, link } => {
                sleep(time).await;
                let answer = at_site.ask(&json!({ "do": "heard", "link": link }))?;
                let heard = answer["links"][0].clone();
                let trouble = heard["radio"].as_str().filter(|_| heard["listens"] != true).map(str::to_owned);
                Ok(Seen { heard, trouble })
            }
            Self::Own { survey, .. } => {
                if !survey.listen(time).await {
                    return Err(Exit::failure(&anyhow::anyhow!("the radio has stopped")));
                }
                let (words, listens) = survey.state();
                Ok(Seen { heard: survey.to_json(), trouble: Some(words).filter(|_| !listens) })
            }
        }
    }

    async fn stop(self) {
        if let Self::Own { survey, .. } = self {
            survey.stop().await;
        }
    }
}

/// Draws the screen anew, from its upper left corner. A terminal that has gone away is no failure.
fn draw(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "\x1b[H\x1b[2J{text}").and_then(|()| out.flush());
}
