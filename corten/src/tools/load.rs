//! `cpu` and `memory`: use a known amount, so that limits and autoscaling can be seen at work.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Outcome, number, options, wait};

/// Uses `--millis` thousandths of a core.
pub fn cpu(arguments: &[String]) -> Outcome {
    let ([millis, seconds], _) = options(arguments, ["millis", "seconds"])?;
    let millis: u64 = number(millis, 1000)?;
    let seconds: Option<f64> = seconds.map(|s| number(Some(s), 0.0)).transpose()?;
    let until = seconds.map(|s| Instant::now() + Duration::from_secs_f64(s));
    let workers: Vec<_> = (0..millis.div_ceil(1000))
        .map(|n| {
            let share = (millis - n * 1000).min(1000);
            thread::spawn(move || burn(share, until))
        })
        .collect();
    if until.is_none() {
        return wait::sleep(&[]);
    }
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")?;
    }
    Ok(0)
}

/// Busy for `share` out of every 1,000 ticks of 100 µs.
fn burn(share: u64, until: Option<Instant>) {
    const PERIOD: Duration = Duration::from_millis(100);
    let busy = PERIOD * u32::try_from(share).unwrap_or(1000) / 1000;
    while until.is_none_or(|u| Instant::now() < u) {
        let start = Instant::now();
        while start.elapsed() < busy {
            std::hint::spin_loop();
        }
        thread::sleep(PERIOD.saturating_sub(start.elapsed()));
    }
}

/// Holds memory, every page of it written.
pub fn memory(arguments: &[String]) -> Outcome {
    let ([seconds], rest) = options(arguments, ["seconds"])?;
    let text = rest.first().ok_or("how much? for example 64Mi")?;
    let bytes = text
        .parse::<api::quantity::Quantity>()
        .map_err(|e| format!("{text}: {e}"))?
        .value();
    let bytes = usize::try_from(bytes).map_err(|_| format!("{text}: not an amount of memory"))?;
    const STEP: usize = 1 << 20;
    let mut held: Vec<Vec<u8>> = Vec::new();
    for done in (0..bytes).step_by(STEP) {
        held.push(std::hint::black_box(vec![1_u8; STEP.min(bytes - done)]));
    }
    println!("holding {bytes} bytes");
    let code = wait::sleep(&seconds.into_iter().collect::<Vec<_>>())?;
    drop(std::hint::black_box(held));
    Ok(code)
}
