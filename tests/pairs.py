"""Fifty pairs of sentences, written for these tests."""

_LINES = """
The coffee is bad. | This is not a good coffee.
A dog runs along the beach. | A puppy is racing over the sand.
She plays the violin every evening. | Each night she practises her instrument.
The train was late again. | We waited an hour for the express.
He cooks pasta for his friends. | Dinner tonight is spaghetti for four.
The company fired its director. | The board dismissed the chief executive.
It rained all night. | The streets were dry this morning.
Two boys are playing chess. | The children sit in front of a board game.
I forgot my keys at home. | My umbrella is still in the office.
The museum opens at ten. | Visitors may enter from ten o'clock.
Prices rose by three percent. | Inflation reached three per cent.
A cat sleeps on the warm stove. | The kitten is awake in the garden.
They moved to Norway last year. | Since last year they have lived in Oslo.
The film was far too long. | I enjoyed every minute of the movie.
He did not unpack his bags. | The luggage stayed closed on the floor.
Our neighbour sold her car. | The woman next door no longer drives.
The bridge is closed for repairs. | Workers are fixing the old bridge.
Please send me the report. | Could you mail the document to me?
The soup needs more salt. | This broth tastes bland.
A man is slicing an onion. | Someone cuts vegetables in the kitchen.
The team lost the final. | They were beaten in the last match.
The teacher praised the class. | The pupils were praised by their teacher.
The pupils praised the teacher. | The teacher praised the pupils.
Snow covered the whole valley. | The hills were white after the storm.
This phone has a weak battery. | The telephone must be charged often.
The judge rejected the appeal. | The court upheld the sentence.
Vaccines protect against measles. | The disease can be prevented.
The lake froze in December. | In winter people skate on the water.
He whispered so nobody heard. | She shouted across the hall.
A bird built a nest in the roof. | Sparrows live under our tiles.
The recipe asks for two eggs. | You need a pair of eggs for this cake.
The server crashed at midnight. | Our website was down last night.
He bought a ticket to Lisbon. | His flight to Portugal is booked.
The baby laughs at the mirror. | An infant smiles at its reflection.
The house has a red door. | The car has a blue roof.
Farmers fear a dry summer. | A drought would ruin the harvest.
She is afraid of spiders. | Arachnophobia troubles her.
The lecture was cancelled. | There will be no talk today.
The knife is blunt. | This blade cuts nothing.
The bank raised its interest rates. | They sat on the bank of the river.
The old clock stopped at noon. | Time seems to stand still here.
He paints portraits of sailors. | Her photographs show fishermen.
The tunnel is twelve miles long. | It takes minutes to cross the tunnel.
Nobody answered the telephone. | The call was not picked up.
Everybody answered the question. | No one replied.
The pianist broke a finger. | The concert had to be postponed.
Oil prices fell sharply. | Crude became much cheaper.
The garden smells of roses. | Flowers perfume the yard.
We climbed the tower on foot. | The lift to the top was out of order.
The moon is bright tonight. | A full moon lights the road.
"""

PAIRS = [tuple(part.strip() for part in line.split("|")) for line in _LINES.strip().splitlines()]
